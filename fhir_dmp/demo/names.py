"""Common French names, places and the words of the record, for people who do not exist."""

from __future__ import annotations

from msgspec import Struct

FAMILIES = tuple(
    (
        "Martin Bernard Thomas Petit Robert Richard Durand Dubois Moreau Laurent Simon Michel Lefebvre Leroy "
        "Roux David Bertrand Morel Fournier Girard Bonnet Dupont Lambert Fontaine Rousseau Vincent Muller "
        "Lefèvre Faure André Mercier Blanc Guérin Boyer Garnier Chevalier François Legrand Gauthier Garcia "
        "Perrin Robin Clément Morin Nicolas Henry"
    ).split()
)
WOMEN = tuple(
    (
        "Marie Jeanne Françoise Monique Catherine Nathalie Isabelle Sylvie Anne Sophie Céline Julie Camille "
        "Léa Manon Chloé Emma Inès Zoé Hélène Élodie Aurélie Margaux Louise Agathe"
    ).split()
)
MEN = tuple(
    (
        "Jean Pierre Michel André Philippe Alain Bernard Christophe Nicolas Julien Thomas Antoine Lucas Hugo "
        "Louis Gabriel Arthur Raphaël Étienne Benoît Cédric Rémi Théo Noé Gaël"
    ).split()
)
TOWNS = (
    ("75056", "75001", "Paris"),
    ("69123", "69003", "Lyon"),
    ("13055", "13001", "Marseille"),
    ("31555", "31000", "Toulouse"),
    ("06088", "06000", "Nice"),
    ("44109", "44000", "Nantes"),
    ("67482", "67000", "Strasbourg"),
    ("34172", "34000", "Montpellier"),
    ("33063", "33000", "Bordeaux"),
    ("59350", "59000", "Lille"),
    ("35238", "35000", "Rennes"),
    ("2A004", "20000", "Ajaccio"),
    ("2B033", "20200", "Bastia"),
)
"""COG code, postal code, name."""

STREETS = (
    "rue de la République",
    "avenue Victor-Hugo",
    "rue des Lilas",
    "place du Marché",
    "rue Pasteur",
    "quai de la Gare",
)


class Drug(Struct, frozen=True):
    """A substance by its ATC code, and how it is taken."""

    code: str
    name: str
    dosage: str


class Problem(Struct, frozen=True):
    """A diagnosis by its CIM-10 code, the age from which people have it here, and what is given for it."""

    code: str
    name: str
    from_age: int
    to_age: int = 120
    drug: Drug | None = None


PROBLEMS = (
    Problem(
        "I10",
        "Hypertension essentielle (primitive)",
        35,
        drug=Drug("C09AA05", "ramipril", "5 mg, un comprimé le matin"),
    ),
    Problem(
        "E11.9",
        "Diabète sucré de type 2, sans complication",
        40,
        drug=Drug("A10BA02", "metformine", "1 000 mg, un comprimé matin et soir"),
    ),
    Problem(
        "J45.9", "Asthme, sans précision", 5, drug=Drug("R03AC02", "salbutamol", "100 µg, deux bouffées si besoin")
    ),
    Problem(
        "E78.0", "Hypercholestérolémie pure", 40, drug=Drug("C10AA05", "atorvastatine", "20 mg, un comprimé le soir")
    ),
    Problem("M54.5", "Lombalgie basse", 25, drug=Drug("N02BE01", "paracétamol", "1 g, trois fois par jour au plus")),
    Problem("F32.1", "Épisode dépressif moyen", 20, drug=Drug("N06AB06", "sertraline", "50 mg, un comprimé le matin")),
    Problem(
        "I48.0",
        "Fibrillation auriculaire paroxystique",
        60,
        drug=Drug("B01AF02", "apixaban", "5 mg, un comprimé matin et soir"),
    ),
    Problem(
        "K21.0",
        "Reflux gastro-œsophagien avec œsophagite",
        25,
        drug=Drug("A02BC05", "ésoméprazole", "20 mg, un comprimé le matin"),
    ),
    Problem("N18.3", "Maladie rénale chronique, stade 3", 60),
    Problem(
        "E03.9", "Hypothyroïdie, sans précision", 30, drug=Drug("H03AA01", "lévothyroxine sodique", "75 µg, à jeun")
    ),
    Problem(
        "J30.1",
        "Rhinite allergique due au pollen",
        6,
        60,
        drug=Drug("R06AX27", "desloratadine", "une prise par jour en saison"),
    ),
    Problem("L20.9", "Dermite atopique, sans précision", 0, 25),
    Problem("J06.9", "Infection aiguë des voies respiratoires supérieures, sans précision", 0),
    Problem("F80.1", "Trouble de l'acquisition du langage, de type expressif", 2, 12),
)
ALLERGIES = (
    ("91936005", "Allergie à la pénicilline"),
    ("91935009", "Allergie à l'arachide"),
    ("300916003", "Allergie au latex"),
    ("418689008", "Allergie au pollen de graminées"),
)
VACCINES = (
    ("J07BB02", "Vaccin antigrippal", 18),
    ("J07AM51", "Vaccin diphtérie-tétanos", 18),
    ("J07BN01", "Vaccin COVID-19 à ARN messager", 18),
    ("J07CA02", "Vaccin diphtérie-tétanos-coqueluche-poliomyélite", 0),
    ("J07BD52", "Vaccin rougeole-oreillons-rubéole", 0),
)
"""ATC, name, the age from which they are given here; those for children are given to children alone."""

LABORATORY = (
    ("718-7", "Hémoglobine", "g/dL", "g/dL", 12.0, 17.0, 1),
    ("6690-2", "Leucocytes", "10*3/uL", "10³/µL", 4.0, 10.0, 2),
    ("777-3", "Plaquettes", "10*3/uL", "10³/µL", 150, 400, 0),
    ("14749-6", "Glucose", "mmol/L", "mmol/L", 3.9, 6.1, 2),
    ("4548-4", "Hémoglobine A1c", "%", "%", 4.0, 6.0, 1),
    ("14682-9", "Créatinine", "umol/L", "µmol/L", 45, 104, 0),
    ("2951-2", "Sodium", "mmol/L", "mmol/L", 136, 145, 0),
    ("2823-3", "Potassium", "mmol/L", "mmol/L", 3.5, 5.1, 1),
    ("14647-2", "Cholestérol total", "mmol/L", "mmol/L", 3.1, 5.2, 2),
    ("1742-6", "ALAT", "U/L", "U/L", 7, 45, 0),
    ("3016-3", "TSH", "m[IU]/L", "mUI/L", 0.40, 4.00, 2),
)
"""LOINC, name, UCUM, unit as shown, reference range, decimals."""
