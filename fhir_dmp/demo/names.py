"""Common French names, places and the words of the record, for people who do not exist."""

from __future__ import annotations

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
CONDITIONS = (
    ("I10", "Hypertension essentielle (primitive)"),
    ("E11.9", "Diabète sucré de type 2, sans complication"),
    ("J45.9", "Asthme, sans précision"),
    ("E78.0", "Hypercholestérolémie pure"),
    ("M54.5", "Lombalgie basse"),
    ("F32.1", "Épisode dépressif moyen"),
    ("I48.0", "Fibrillation auriculaire paroxystique"),
    ("K21.0", "Reflux gastro-œsophagien avec œsophagite"),
    ("N18.3", "Maladie rénale chronique, stade 3"),
    ("E03.9", "Hypothyroïdie, sans précision"),
)
DRUGS = (
    ("C09AA05", "ramipril", "5 mg, un comprimé le matin"),
    ("A10BA02", "metformine", "1 000 mg, un comprimé matin et soir"),
    ("R03AC02", "salbutamol", "100 µg, deux bouffées si besoin"),
    ("C10AA05", "atorvastatine", "20 mg, un comprimé le soir"),
    ("N02BE01", "paracétamol", "1 g, trois fois par jour au plus"),
    ("N06AB06", "sertraline", "50 mg, un comprimé le matin"),
    ("B01AF02", "apixaban", "5 mg, un comprimé matin et soir"),
    ("A02BC05", "ésoméprazole", "20 mg, un comprimé le matin"),
    ("H03AA01", "lévothyroxine sodique", "75 µg, à jeun"),
)
ALLERGIES = (
    ("91936005", "Allergie à la pénicilline"),
    ("91935009", "Allergie à l'arachide"),
    ("300916003", "Allergie au latex"),
    ("418689008", "Allergie au pollen de graminées"),
)
VACCINES = (
    ("J07BB02", "Vaccin antigrippal"),
    ("J07AM51", "Vaccin diphtérie-tétanos"),
    ("J07BN01", "Vaccin COVID-19 à ARN messager"),
)
LABORATORY = (
    ("718-7", "Hémoglobine", "g/dL", "g/dL", 12.0, 17.0, 1),
    ("6690-2", "Leucocytes", "10*3/uL", "10³/µL", 4.0, 10.0, 2),
    ("777-3", "Plaquettes", "10*3/uL", "10³/µL", 150, 400, 0),
    ("2339-0", "Glucose", "mg/dL", "mg/dL", 70, 180, 0),
    ("4548-4", "Hémoglobine A1c", "%", "%", 4.8, 8.5, 1),
    ("2160-0", "Créatinine", "mg/dL", "mg/dL", 0.6, 1.6, 2),
    ("2951-2", "Sodium", "mmol/L", "mmol/L", 135, 146, 0),
    ("2823-3", "Potassium", "mmol/L", "mmol/L", 3.5, 5.2, 2),
    ("2093-3", "Cholestérol total", "mg/dL", "mg/dL", 140, 260, 0),
    ("1742-6", "ALAT", "U/L", "U/L", 8, 60, 0),
    ("3016-3", "TSH", "m[IU]/L", "mUI/L", 0.40, 4.50, 2),
)
"""LOINC, name, UCUM, unit as shown, lowest, highest, decimals."""
