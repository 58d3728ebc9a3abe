"""HTML: nothing from outside is ever more than text."""

from hypothesis import given
from hypothesis import strategies as st

from crossgeo.engine.explain.html import Markup, escaped, facts, joined, name_of, tag


def test_text_is_escaped_and_markup_is_not() -> None:
    assert joined(["<b>", tag("i", "&"), None, [Markup("<hr>")]]) == "&lt;b&gt;<i>&amp;</i><hr>"


def test_attributes_are_quoted_and_may_be_left_out() -> None:
    made = tag("img", alt='"><script>', data_label="a", class_=None, hidden=True, width=3.0)
    assert made == '<img alt="&quot;&gt;&lt;script&gt;" data-label="a" hidden width="3">'
    assert tag("p", hidden=False) == "<p></p>"


@given(st.text(st.characters(), max_size=30))
def test_any_text_becomes_valid_html_that_breaks_out_of_nothing(text: str) -> None:
    made = tag("p", text, title=text)
    made.encode()  # lone surrogates, as names of files have them, would not encode
    inside = made.removeprefix('<p title="').removesuffix("</p>")
    assert inside.count('">') == 1
    assert "<" not in inside and not any(ord(letter) < 32 and letter not in "\n\t" for letter in made)


def test_names_are_set_apart_from_what_stands_around_them() -> None:
    assert name_of("a\u202eb") == "<bdi>a\u202eb</bdi>"
    assert facts([("<n>", "v")]) == '<dl class="facts"><div><dt>&lt;n&gt;</dt><dd>v</dd></div></dl>'
    assert escaped("\x00\ud800") == "\ufffd\ufffd"
