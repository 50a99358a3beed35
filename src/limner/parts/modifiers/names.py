"""Names of people that a base knows: anchors for tokens of faces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base

FAMOUS = """
Adam Sandler, Al Pacino, Alan Rickman, Albert Einstein, Amy Adams, Andy Murray, Angela Merkel, Anne Hathaway, Anthony
Hopkins, Barack Obama, Ben Affleck, Bill Gates, Bob Dylan, Brad Pitt, Bruce Lee, Bruce Willis, Charlie Chaplin, Chris
Evans, Chris Pratt, Clint Eastwood, Daniel Craig, David Beckham, David Bowie, Denzel Washington, Diana Ross, Dustin
Hoffman, Eddie Murphy, Elton John, Elvis Presley, Emma Stone, Emma Watson, Ethan Hawke, Frank Sinatra, Gary Oldman,
George Clooney, Grace Kelly, Harrison Ford, Harry Styles, Helen Mirren, Henry Cavill, Hugh Grant, Hugh Jackman, Ian
McKellen, Jack Black, Jack Nicholson, Jackie Chan, James Brown, James Dean, Jane Fonda, Jason Momoa, Jeff Bridges,
Jennifer Lawrence, Jim Carrey, Jimmy Carter, Jodie Foster, John Lennon, John Travolta, Johnny Cash, Johnny Depp, Jude
Law, Judy Garland, Julia Roberts, Kate Winslet, Kevin Hart, Kevin Spacey, Kobe Bryant, Lady Gaga, Lana Turner, Larry
David, Leonard Cohen, Lewis Hamilton, Lionel Messi, Lucy Liu, Marilyn Monroe, Mark Hamill, Martin Freeman, Matt Damon,
Mel Gibson, Michael Jackson, Michael Jordan, Michelle Obama, Mick Jagger, Miles Davis, Morgan Freeman, Natalie
Portman, Neil Young, Nelson Mandela, Nick Jonas, Nina Simone, Owen Wilson, Paul Newman, Paul Simon, Prince Harry,
Ralph Fiennes, Ray Charles, Richard Gere, Robert Redford, Robin Williams, Roger Federer, Russell Crowe, Ryan Gosling,
Ryan Reynolds, Sam Smith, Samuel Jackson, Sandra Bullock, Scarlett Johansson, Sean Connery, Serena Williams, Steve
Jobs, Steve Martin, Steven Spielberg, Stevie Wonder, Taylor Swift, Tiger Woods, Tim Cook, Tina Turner, Tom Cruise, Tom
Hanks, Tom Hardy, Uma Thurman, Usain Bolt, Venus Williams, Viola Davis, Walt Disney, Whitney Houston, Will Ferrell,
Will Smith, Winston Churchill, Woody Allen
"""
"""People known all over the world, each with a first and a last name."""

FEWEST = 3
"""Least number of names that give a mean and directions around it."""


def name_vectors(base: Base, names: str = "") -> Tensor:
    """[n, 2, D]: the input vectors of the first and the last word of n names of people.

    Only names whose two words are one token each are used, since the token of a face has two vectors. A base that knows
    too few of FAMOUS gives pairs of its rare words instead: names of nobody. Raises `InputError` for fewer than FEWEST.

    base: the base whose vocabulary is read
    names: names with commas between them, "Tom Hanks, Emma Stone"; empty is FAMOUS
    """
    import torch

    vectors = [base.word_vectors(name) for name in known_names(base, names)]
    if names or len(vectors) >= FEWEST:
        return _checked(base, vectors, f"{len(vectors)} of the names are two tokens long")
    rare = [base.word_vectors(word).mean(0, keepdim=True) for word in base.rare_words]
    pairs = [torch.cat([one, other]) for one, other in zip(rare, [*rare[1:], *rare[:1]], strict=True)]
    return _checked(base, pairs, f"{base.name} knows no famous name and {len(rare)} rare words")


def known_names(base: Base, names: str = "") -> list[str]:
    """The names whose two words are one token each for a base.

    base: the base whose vocabulary is read
    names: names with commas between them; empty is FAMOUS
    """
    given = [" ".join(name.split()) for name in (names or FAMOUS).split(",")]
    return [name for name in given if name.count(" ") == 1 and len(base.word_vectors(name)) == 2]


def _checked(base: Base, vectors: list[Tensor], what: str) -> Tensor:
    import torch

    if len(vectors) < FEWEST:
        raise InputError(
            f"this method starts from names of people, at least {FEWEST}; {what}: name some (--names 'Tom Hanks, …')"
        )
    return torch.stack(vectors)


def encoded_mean_name(base: Base, names: str = "") -> Tensor:
    """[2, D]: the text encoder's hidden states of the mean name, at the positions of its two words.

    A token that starts there has the cross initialization of arXiv:2312.15905. Raises `InputError` where hidden states
    are not as wide as input vectors.

    base: the base whose text encoder reads the name
    names: names with commas between them; empty is FAMOUS
    """
    import torch

    mean = name_vectors(base, names).mean(0)
    wide = base.states_shape[1]
    if wide != mean.shape[1]:
        raise InputError(
            f"this method starts a word at its text encoder's output, which must be as wide as the words' vectors: "
            f"on {base.name} they are {wide} and {mean.shape[1]} wide"
        )
    words = {"<name>": mean}
    with torch.no_grad():
        states = base.text_states(["<name>"], words=words)[0]
    start = base.word_places("<name>", "<name>", words=words)[0]
    return states[start : start + 2].to(mean)
