#!/usr/bin/env python3
"""Print each rule of the French record with the tests that show it, or what stands in its place.

The rules are those of the law (L) and of the DMP system (F), the matrix of rights, and that of the directory's keeper. A test shows a
rule where it is marked ``@pytest.mark.rule("L2", …)``. The exit code is 1 for a mark of no known rule, and for a rule that has neither
tests nor a word.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

RULES = {
    "L1": "the insurance opens the record and answers for it; it does not replace the professional's own",
    "L2": "prior consent: the care team's is presumed, others need an explicit one",
    "L3": "the team: informed and not opposed; others: consent at each consultation",
    "L4": "a professional with access may collect the consent for another",
    "L5": "only what the care needs, within the rights of the matrix",
    "L6": "the matrix applies unless the holder decides otherwise",
    "L7": "once authorised, writing is not opposed; it needs no further word",
    "L8": "professionals deposit what coordination needs; nobody answers for what was hidden from him",
    "L9": "the holder masks an item; its author still sees it",
    "L10": "break-glass, unless opposed before",
    "L11": "the regulator of a SAMU, unless opposed before",
    "L12": "holder and attending doctor are told of it afterwards, in electronic form",
    "L13": "hidden from the holder until announced, two weeks' notice, one month at most",
    "L14": "a minor's secret from the legal representatives",
    "L15": "minors and protected adults: rights are exercised by who represents them",
    "L16": "the holder sees the content, who has access, and the traces",
    "L17": "every act is traced, in the record",
    "L18": "never for insurers, employers and contracts, even with consent",
    "L19": "the occupational doctor by express consent alone",
    "L20": "the fire brigade's doctor by express consent, or in an emergency",
    "L21": "doctors of maternal and child protection read and deposit",
    "L22": "a closed record is kept for ten years",
    "L23": "after death the heirs ask (L.1110-4 V: what they need to know, unless the dead refused), and are answered by a person: no token",
    "L24": "the holder closes at any time",
    "L25": "the attending doctor sees what is masked",
    "L26": "the care team: same structure, recognised by the patient, or a formal organisation",
    "L27": "what one of the team knows, the team knows",
    "F1": "nothing before the record is known to be open",
    "F2": "a blocked professional has no access, authorised or not",
    "F3": "authorisations are for reading; feeding needs none",
    "F4": "in centre-15 mode no authorisation is looked for",
    "F5": "an authorisation follows an explicit act",
    "F6": "an authorisation ends",
    "F7": "an emergency is displayed for as long as it lasts",
    "F8": "oppositions to break-glass and to centre 15 are two",
    "F9": "the author chooses at the deposit: masked, or hidden from the patient, not both",
    "F10": "in a secret connection all is hidden from the representatives",
    "F11": "and so are the traces",
    "F12": "visible to representatives once, visible for good",
    "F13": "to find masked documents is for the attending doctor",
    "F14": "a document's state is shown",
    "F15": "who opens an INVISIBLE document is warned",
    "F16": "only the author deletes, and nothing is destroyed",
    "F17": "what the patient deposited is told apart",
    "F18": "to archive a document is its author's change of what is said of it",
    "F19": "a first search of two years",
    "F20": "indirect authentication: the named user alone sees",
    "F21": "without strong authentication one feeds, and finds one's own",
    "F22": "the patient blocks and masks from the portal, each document and for emergencies",
    "F23": "visible to professionals by the matrix before the patient has ever signed in",
    "F24": "a change of labels is a new version of the same document",
    "matrix": "categories by profession, deny by default",
    "keeper": "what the keeper of the directory wrote of who is who is changed by it alone",
}

IN_THEIR_PLACE = {
    "L1": "setting: the role insurance-feed",
    "L8": "not for the server: a duty of professionals",
    "L20": "setting: matrix.json, explicit (by the brigade's number: no code of the specialty was found)",
    "L21": "setting: matrix.json (the profession of those doctors); no code tells them from other doctors",
    "F7": "for the software of the professional",
    "F14": "not for the server: labels stand in meta.security",
    "F15": "for the software of the professional: the labels are in what it reads",
    "F19": "for the software of the professional",
    "F20": "setting: DMP_RULE_STRUCTURES_CONSULT for systems; providers that are strong",
    "F21": "setting: DMP_RULE_STRUCTURES_CONSULT for systems; providers that are strong",
    "F23": "nothing of its own: a holder who never signed in has the rules of any other",
}
"""For rules without a test, or that tests show in part: a setting, somebody else's task, or not yet."""


def main() -> int:
    """Print the table; return 1 if it has a hole."""
    shown = defaultdict(list)
    for rule, test in _marks():
        shown[rule].append(test)
    unknown = sorted(set(shown) - set(RULES))
    holes = [rule for rule in RULES if rule not in shown and rule not in IN_THEIR_PLACE]
    for rule, text in RULES.items():
        print(f"{rule:7} {text}")
        word = [IN_THEIR_PLACE[rule]] if rule in IN_THEIR_PLACE else []
        for line in [*shown.get(rule, ()), *word] or ["NOTHING SHOWS IT"]:
            print(f"        {line}")
    for rule in unknown:
        print(f"No such rule: {rule} in {', '.join(shown[rule])}")
    return 1 if unknown or holes else 0


def _marks() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for rule in _rules_of(node):
                    yield rule, f"{path.relative_to(ROOT)}::{node.name}"


def _rules_of(test: ast.FunctionDef) -> Iterator[str]:
    for each in test.decorator_list:
        if isinstance(each, ast.Call) and ast.unparse(each.func) == "pytest.mark.rule":
            yield from (argument.value for argument in each.args if isinstance(argument, ast.Constant))


if __name__ == "__main__":
    sys.exit(main())
