"""The text area for captions is found in a labelling configuration."""

from __future__ import annotations

import pytest

from common.problems import Problem
from web.compat.label_studio.labelling import CaptionArea, caption_area


def test_the_text_area_of_a_picture_is_found_among_others() -> None:
    config = """<View>
      <Text name="note" value="$note"/><TextArea name="answer" toName="note"/>
      <Image name="photo" value="$image"/><RectangleLabels name="box" toName="photo"/>
      <TextArea name="caption" toName="photo" editable="true"/><TextArea name="title" toName="photo"/>
    </View>"""

    assert caption_area(config) == CaptionArea("caption", "photo", "image")


@pytest.mark.parametrize(
    "config",
    [
        None,
        "",
        "<View>",
        "<View/>",
        '<View><Image name="a" value="$a"/></View>',
        '<View><TextArea name="b" toName="a"/></View>',
        '<View><Image name="a" valueList="$a"/><TextArea name="b" toName="a"/></View>',
        '<!DOCTYPE View [<!ENTITY x "x">]><View><Image name="a" value="$a"/><TextArea name="b" toName="a"/></View>',
    ],
)
def test_a_configuration_without_a_text_area_for_a_picture_is_refused(config: object) -> None:
    with pytest.raises(Problem, match="labelling configuration"):
        caption_area(config)
