"""Letters for axes whose meaning a file leaves open."""

SPARE = "qijklmnopruvw"
KNOWN = "tczyxs"


def open_letters(count: int, taken: str = "") -> str:
    """Return `count` letters that claim nothing.

    >>> open_letters(3), open_letters(2, "yxq")
    ('qij', 'ij')
    """
    return "".join([letter for letter in SPARE if letter not in taken][:count])


def unique(axes: str) -> str:
    """Return lower-case `axes` in which a doubled letter is replaced by a spare one.

    >>> unique("QQYX")
    'qiyx'
    """
    result = ""
    for letter in axes.lower():
        result += letter if letter not in result else open_letters(1, axes.lower() + result)
    return result
