"""Attention weights as text and as an image."""

import xml.etree.ElementTree

from throughtime.attention_grid import svg, text


def test_shades_follow_the_weights() -> None:
    weights = [[1.0, 0.0], [0.25, 0.75], [0.0, 1.0]]
    assert text([" one", "<eos>"], ["a", " bc", "<eos>"], weights).split("\n") == [
        "      one <eos>",
        "    a ███",
        "   bc ░░░ ▓▓▓▓▓",
        "<eos>     █████",
        "",
        "",
    ]


def test_an_image_escapes_its_tokens() -> None:
    picture = xml.etree.ElementTree.fromstring(svg(["<&", '"'], ["a>b"], [[0.5, 0.5]]))
    texts = [part.text for part in picture.iter() if part.tag.endswith("text")]
    assert texts == ["<&", '"', "a>b"]


def test_an_image_is_whole_whatever_its_tokens_hold() -> None:
    picture = xml.etree.ElementTree.fromstring(svg(["a\x01", "\ufffe\x1b"], ["b\nc\td"], [[0.5, 0.5]]))
    texts = [part.text for part in picture.iter() if part.tag.endswith("text")]
    assert texts == ["a\ufffd", "\ufffd\ufffd", "b\\nc\td"]
