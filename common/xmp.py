"""XMP sidecars: the caption as description and as alternative text, and everything else of the file as it was.

Written are Dublin Core's `dc:description` and IPTC's `Iptc4xmpCore:AltTextAccessibility` (IPTC Photo Metadata Standard
2021.1), both in the language `x-default`. The parser says where elements begin and end, and the file is changed there
only: properties, namespaces and white space of other programs stay byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from xml.parsers import expat
from xml.sax.saxutils import escape, unescape

from common import problems
from common.images import raw

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XML = "http://www.w3.org/XML/1998/namespace"
DC = "http://purl.org/dc/elements/1.1/"
IPTC = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"

#: A property: namespace, usual prefix, name.
Property = tuple[str, str, str]
DESCRIPTION: Property = (DC, "dc", "description")
ALT_TEXT: Property = (IPTC, "Iptc4xmpCore", "AltTextAccessibility")
#: The properties that hold a caption. The first is the one that is read.
CAPTION = (DESCRIPTION, ALT_TEXT)

EMPTY = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="">
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""

#: A start tag, whose attributes may contain `>`.
_TAG = re.compile(rb"<[^>\"']*(?:\"[^\"]*\"[^>\"']*|'[^']*'[^>\"']*)*>")


@dataclass
class _Element:
    """An element with the offsets in bytes of its start tag, its content and its end."""

    name: str
    attributes: dict[str, str]
    start: int
    content: int
    end_content: int = 0
    end: int = 0
    children: list[_Element] = field(default_factory=list)

    def find(self, name: str) -> _Element | None:
        """The first child of this name."""
        return next((child for child in self.children if child.name == name), None)


def replaces_suffix(image: PurePath) -> bool:
    """Whether an image's sidecar is `photo.xmp`, as Lightroom has it for RAW files, and not `photo.jpg.xmp`.

    Of a DNG, Lightroom reads no sidecar.
    """
    suffix = image.suffix.lower()
    return suffix in raw.SUFFIXES and suffix != ".dng"


def description(xmp: str, prop: Property = DESCRIPTION) -> str | None:
    """The text of a property; None for none. Raises the problem `damaged-image` for a file that is no XMP."""
    data = _encode(xmp)
    namespace, _, name = prop
    for node in _descriptions(data):
        item = _default_item(node.find(f"{namespace} {name}"))
        if item is not None:
            return unescape(data[item.content : item.end_content].decode(), {"&quot;": '"', "&apos;": "'"}).strip()
    return None


def with_caption(xmp: str | None, change: Callable[[str | None], str], properties: Sequence[Property] = CAPTION) -> str:
    """A sidecar with a caption in all `properties`; `change` makes it from the text of the first that is there.

    Raises the problem `damaged-image` for a file that is no XMP.
    """
    text = EMPTY if xmp is None else xmp
    caption = change(description(text, properties[0]))
    for namespace, prefix, name in properties:
        text = _set(_encode(text), namespace, prefix, name, caption).decode()
    return text


def _encode(xmp: str) -> bytes:
    """The bytes of a sidecar. Raises the problem `damaged-image` if they are not UTF-8, which added text is in."""
    try:
        return xmp.encode()
    except UnicodeEncodeError as error:  # a byte that is no UTF-8 was read as a surrogate
        raise problems.DAMAGED_IMAGE("The sidecar is not XML in UTF-8.") from error


def _set(data: bytes, namespace: str, prefix: str, name: str, value: str) -> bytes:
    """The file with a property's text in the language `x-default`."""
    escaped = escape(value)
    nodes = _descriptions(data)
    if any(f"{namespace} {name}" in node.attributes for node in nodes):
        raise problems.DAMAGED_IMAGE(
            "The sidecar has {name} as an attribute, which XMP does not allow.", name=prefix + ":" + name
        )
    item = f'<rdf:li xmlns:rdf="{RDF}" xml:lang="x-default">{escaped}</rdf:li>'
    for node in nodes:
        element = node.find(f"{namespace} {name}")
        if element is None:
            continue
        found = _default_item(element)
        if found is not None:
            return data[: found.content] + escaped.encode() + data[found.end_content :]
        languages = element.find(f"{RDF} Alt")
        if languages is not None and languages.end_content:
            return data[: languages.content] + item.encode() + data[languages.content :]
        whole = _property(namespace, prefix, name, item)
        return data[: element.start] + whole.encode() + data[element.end :]
    node, new = nodes[0], _property(namespace, prefix, name, item).encode()
    if node.end_content:
        # Before the white space that indents the end tag.
        place = len(data[: node.end_content].rstrip())
        return data[:place] + b"\n   " + new + data[place:]
    tag = data[node.start : node.end]
    qualified = re.match(rb"<([^\s/>]+)", tag)
    assert qualified and tag.endswith(b"/>")
    opened = tag[:-2].rstrip() + b">"
    return data[: node.start] + opened + b"\n   " + new + b"\n  </" + qualified[1] + b">" + data[node.end :]


def _property(namespace: str, prefix: str, name: str, item: str) -> str:
    return (
        f'<{prefix}:{name} xmlns:{prefix}="{namespace}"><rdf:Alt xmlns:rdf="{RDF}">{item}</rdf:Alt></{prefix}:{name}>'
    )


def _default_item(element: _Element | None) -> _Element | None:
    """The item of a property in the language `x-default`."""
    languages = element and element.find(f"{RDF} Alt")
    for item in languages.children if languages else ():
        if item.name == f"{RDF} li" and item.attributes.get(f"{XML} lang") == "x-default" and item.end_content:
            return item
    return None


def _descriptions(data: bytes) -> list[_Element]:
    """The nodes that hold properties; raises the problem `damaged-image` when there is none."""
    root = _parse(data)
    rdf = root if root.name == f"{RDF} RDF" else root.find(f"{RDF} RDF")
    nodes = [child for child in rdf.children if child.name == f"{RDF} Description"] if rdf else []
    if not nodes:
        raise problems.DAMAGED_IMAGE("The sidecar is not XMP: it has no rdf:Description.")
    return nodes


def _parse(data: bytes) -> _Element:
    """The root element. Entities that a file declares itself are refused: they could expand without end."""
    parser = expat.ParserCreate("utf-8", namespace_separator=" ")
    stack = [_Element("", {}, 0, 0)]

    def start(name: str, attributes: dict[str, str]) -> None:
        offset = parser.CurrentByteIndex
        tag = _TAG.match(data, offset)
        assert tag is not None
        element = _Element(name, attributes, offset, tag.end())
        if tag[0].endswith(b"/>"):
            element.end = tag.end()
        stack[-1].children.append(element)
        stack.append(element)

    def end(name: str) -> None:
        element = stack.pop()
        if not element.end:
            element.end_content = parser.CurrentByteIndex
            element.end = data.index(b">", element.end_content) + 1

    def refuse(*_: object) -> None:
        raise problems.DAMAGED_IMAGE("The sidecar declares a document type, which XMP does not have.")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise problems.DAMAGED_IMAGE("The sidecar is not XML: {reason}.", reason=str(error)) from error
    return stack[0].children[0]
