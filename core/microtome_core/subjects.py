"""What subjects are called: species by their common names, sexes in full.

Numbers are those of the NCBI Taxonomy.
"""

from collections.abc import Mapping

# Common names and synonyms, in lower case, of the Latin binomial to write.
SPECIES: Mapping[str, str] = {
    "mouse": "Mus musculus", "mice": "Mus musculus", "house mouse": "Mus musculus",
    "rat": "Rattus norvegicus", "human": "Homo sapiens", "zebrafish": "Danio rerio",
    "fly": "Drosophila melanogaster", "fruit fly": "Drosophila melanogaster",
    "drosophila": "Drosophila melanogaster", "macaque": "Macaca mulatta",
    "rhesus": "Macaca mulatta", "rhesus macaque": "Macaca mulatta", "monkey": "Macaca mulatta",
    "marmoset": "Callithrix jacchus", "worm": "Caenorhabditis elegans",
    "c. elegans": "Caenorhabditis elegans", "c elegans": "Caenorhabditis elegans",
    "ferret": "Mustela putorius", "mustela putorius furo": "Mustela putorius",
    "cat": "Felis catus", "zebra finch": "Taeniopygia guttata",
}  # fmt: skip

TAXA: Mapping[int, str] = {
    10090: "Mus musculus", 10116: "Rattus norvegicus", 9606: "Homo sapiens", 7955: "Danio rerio",
    7227: "Drosophila melanogaster", 9544: "Macaca mulatta", 9483: "Callithrix jacchus",
    6239: "Caenorhabditis elegans", 9669: "Mustela putorius", 9685: "Felis catus",
    59729: "Taeniopygia guttata",
}  # fmt: skip

# The letter that NWB has for each; of a worm XO and XX stand as they are.
SEXES: Mapping[str, str] = {"male": "M", "female": "F", "other": "O", "unknown": "U"}
SEX_LETTERS = ("M", "F", "O", "U")
WORM_SEXES = ("XO", "XX")
