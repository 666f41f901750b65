from .client import Guest


def test_smoke() -> None:
    g = Guest()
    assert g.rpci(b"log hello") == b"1 "
    ch = g.open(b"TCLO")
    print(g.tools(ch, 40))
    for e in g.trace.events:
        print(e.json())
    assert not g.broken_rules()
