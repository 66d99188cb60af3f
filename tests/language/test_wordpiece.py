import pytest

from adclick.language.curation import most_pieces


@pytest.mark.parametrize(
    ("phrase", "pieces"),
    [
        ("dark hole in the surface", 5),
        ("Dark HOLE", 2),
        ("surfaces", 2),  # surface ##s
        ("hair-thin, cut", 5),  # hair - thin , cut
        ("gelatin", 4),  # two letters a piece: BERT has gel ##atin
        ("3 mm", 2),
        ("", 0),
    ],
)
def test_the_bound_by_hand(phrase: str, pieces: int) -> None:
    assert most_pieces(phrase) == pieces
