"""How many tokens a phrase can become, without the text encoder's vocabulary at hand."""

import re

# Words so frequent in English that BERT's uncased vocabulary holds them whole.
FREQUENT = """
    a about above across after again against all alone along among an and another any apart are
    area arm arms around arrow as at away back background ball band bands bar bare bars base be
    beat bed before behind being below bend beneath bent beside between beyond big bit black
    blade block blood blow blue board boards body bone border borders both bottle bottom bow box
    branch bread break breaks bridge bright brighter broad broke broken brown brush build burn
    burned burst but button by cable camera can cap car card carpet case cast caught cell cells
    center central centre chain chair change changed chip circle circles circuit circular clean
    cleaned clear close closed cloth cloud clouds coat coating code cold color colored colors
    colour coloured colours column complete condition control copper copy core corner corners
    correct cotton cover covered covering covers crack cracked cracks crop cross crossed
    crossing curve curved cut cuts cutting cycle damage damaged dark darker date dead deep
    defect defects depth diamond different dim dirt dirty disc disk distance door dot dots
    double down draw drawn dried drop dropped drops dry dull dust each ear early edge edges
    eight electric elements empty end ending ends engine even every exposed extra eye eyes
    fabric face faces facing factory fall false feather feet fiber field figure fill filled film
    final fine finger fingers finish finished fire first fit five fixed flag flat floor flow
    flower flowing foil following foot for foreign form forming four frame free fresh from front
    full fur gap gaps gas gate glass glue gold golden good grain grass gray green grey grid
    ground group grown hair half hand hanging hard head heads healthy heart heat heavy hidden
    hiding high holding hole holes hollow hook horizontal hot ice image in industrial injured
    ink inner insect inside into iron is it item its jacket joining joint just key keys knife
    knot lace laid large larger last layer lead leaf leather leaves leaving left leg legs length
    less letter letters level lid lie lies light lighter lights like line lined lines link lip
    lips liquid little long longer look looking looks loop loose lost loud low lower lying
    machine made magnet magnetic main make mark marked marker marks mass match matching material
    matter mesh metal metallic middle minor mirror missing mixed more most mouth moved much mud
    multiple nail narrow natural near nearly neat neck new next night no noise none normal nose
    not nothing number object objects odd of off oil old on once one only open opened opening or
    orange order ordinary other out outer outside over paint painted painting pair pale panel
    paper parallel part particle partly parts past patch path pattern perfect perfectly picture
    piece pieces pile pill pin pink pipe place placed plain plastic plate plates point pointed
    points poor powder press pressed pressure print printed product proper pulled pure purple
    pushed quarter rain random raw ready rear red regular remain remains reverse ribbon right
    ring rings rock rod root rope rough round rounded row rows rubber running rust same sand
    scale scar scattered scratch screen screw seal seam second section seed seen set seven
    several shade shadow shallow shape shaped sharp sheet shell shining short shorter should
    showing side sides sight sign silk silver similar single sitting six size skin slight
    slightly small smaller smoke smooth soft solid some space split spot spots spread square
    stain standard standing star stars steel stem step steps stick stone straight strange strip
    stripe strong structure stuck surface symbol table tail tall tape tar tear teeth ten test
    text texture than that the thick thin thinner third thread threads three through tight tile
    time tiny tip tips to together tone too tooth top torn touch touching toward towards track
    trail tree triangle tube turned turning twice twisted two type typical under uniform unknown
    unusual up upon upper upside vertical very view visible visual wall walls warm water wave
    way weak well wet wheel where while white whole wide wider window wire wires with within
    without wood wooden wool word words work worn wrong yellow zero zone
"""
WHOLE_WORDS = frozenset(FREQUENT.split())
ENDINGS = ("s", "es", "ed", "d", "ing", "y", "er", "ly", "less")


def most_pieces(phrase: str) -> int:
    """An upper bound of a phrase's WordPiece tokens, [CLS] and [SEP] not counted.

    A frequent word is one piece, with an ending at most two; of any other word a piece is taken to
    hold two letters, which nearly all pieces of BERT's vocabulary do; a sign is a piece. The bound
    is loose: most phrases become about two thirds of it.
    """
    parts = re.findall(r"[a-z]+|[^\sa-z]", phrase.lower())
    return sum(_word_pieces(part) for part in parts)


def _word_pieces(word: str) -> int:
    if word in WHOLE_WORDS:
        return 1
    if any(word.removesuffix(ending) in WHOLE_WORDS for ending in ENDINGS):
        return 2
    return (len(word) + 1) // 2
