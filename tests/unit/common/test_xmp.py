"""Captions in XMP: a new sidecar is complete, and one that is there keeps everything else byte for byte."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from common import xmp
from common.problems import Problem

needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")

DIGIKAM = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""  xmlns:xmp='http://ns.adobe.com/xap/1.0/'
    xmlns:dc="http://purl.org/dc/elements/1.1/" xmp:Rating="4" xmp:Label="a &gt; b">
   <dc:subject><rdf:Bag><rdf:li>K\u00e4tzchen</rdf:li></rdf:Bag></dc:subject>%s
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""
PRESENT = """
   <dc:description>
    <rdf:Alt>
     <rdf:li xml:lang="x-default">cats &amp; dogs</rdf:li>
     <rdf:li xml:lang="de-DE">Katzen</rdf:li>
    </rdf:Alt>
   </dc:description>"""
OTHER_LANGUAGE = PRESENT.replace('     <rdf:li xml:lang="x-default">cats &amp; dogs</rdf:li>\n', "")
SHORT = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<r:Description r:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Make="Canon"/></r:RDF></x:xmpmeta>'
)


def captioned(before: str | None, caption: str = 'a <b> & "c"') -> str:
    return xmp.with_caption(before, lambda present: caption)


@pytest.mark.parametrize(
    "before", [None, DIGIKAM % "", DIGIKAM % PRESENT, DIGIKAM % OTHER_LANGUAGE, SHORT], ids=range(5)
)
class TestEverySidecar:
    def test_the_caption_is_read_again(self, before: str | None) -> None:
        assert xmp.description(captioned(before)) == 'a <b> & "c"'

    def test_a_second_caption_replaces_the_first(self, before: str | None) -> None:
        assert captioned(captioned(before), "another") == captioned(before, "another")

    @needs_exiftool
    def test_exiftool_reads_both_properties_and_all_others(self, before: str | None, tmp_path: Path) -> None:
        path = tmp_path / "photo.jpg.xmp"
        path.write_text(captioned(before), encoding="utf-8")

        run = subprocess.run(["exiftool", "-json", "-struct", path], capture_output=True, check=True)

        read = json.loads(run.stdout)[0]
        assert (read["Description"], read["AltTextAccessibility"]) == ('a <b> & "c"',) * 2
        assert "Warning" not in read
        if before and "Rating" in before:
            assert (read["Rating"], read["Subject"], read["Label"]) == (4, ["K\u00e4tzchen"], "a > b")
        if before == SHORT:
            assert read["Make"] == "Canon"


def test_everything_beside_the_caption_stays_byte_for_byte() -> None:
    after = captioned(DIGIKAM % PRESENT, "new")

    alt_text = after[after.index("\n   <Iptc4xmpCore") : after.index("\n  </rdf:Description>")]
    assert after.replace(alt_text, "").replace(">new<", ">cats &amp; dogs<") == DIGIKAM % PRESENT


def test_captions_in_other_languages_stay() -> None:
    assert '<rdf:li xml:lang="de-DE">Katzen</rdf:li>' in captioned(DIGIKAM % OTHER_LANGUAGE)


def test_the_caption_that_is_there_is_handed_to_the_change() -> None:
    text = xmp.with_caption(DIGIKAM % PRESENT, lambda present: f"{present}!")

    assert xmp.description(text) == "cats & dogs!"


@pytest.mark.parametrize(
    "content",
    [
        "no xml",
        "<html></html>",
        '<!DOCTYPE x [<!ENTITY a "aaaa">]>' + SHORT,
        SHORT.replace("tiff:Make=", 'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:description="x" tiff:Make='),
    ],
)
def test_a_file_that_is_no_xmp_is_refused(content: str) -> None:
    with pytest.raises(Problem) as refused:
        captioned(content)

    assert refused.value.kind.slug == "damaged-image"
