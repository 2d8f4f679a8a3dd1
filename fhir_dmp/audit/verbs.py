"""What was done, and what was asked for in vain, in words: by the act of a row, in French and in English."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Both = tuple[str, str]
"""In French and in English."""


class Verb(NamedTuple):
    """What somebody did; and what they asked ``to`` do, for an act that can come to nothing."""

    did: Both
    to: Both | None = None


VERBS: Mapping[str, Verb] = {
    "read": Verb(("a consulté", "read"), ("consulter", "read")),
    "vread": Verb(
        ("a consulté une version de", "read a version of"), ("consulter une version de", "read a version of")
    ),
    "search-type": Verb(
        ("a recherché dans le dossier", "searched the record"), ("rechercher dans le dossier", "search the record")
    ),
    "search-system": Verb(
        ("a recherché dans le dossier", "searched the record"), ("rechercher dans le dossier", "search the record")
    ),
    "history-instance": Verb(
        ("a consulté l'historique de", "read the history of"), ("consulter l'historique de", "read the history of")
    ),
    "history-type": Verb(
        ("a consulté l'historique", "read the history"), ("consulter l'historique", "read the history")
    ),
    "history-system": Verb(
        ("a consulté l'historique", "read the history"), ("consulter l'historique", "read the history")
    ),
    "create": Verb(("a ajouté", "added"), ("ajouter", "add")),
    "update": Verb(("a modifié", "changed"), ("modifier", "change")),
    "patch": Verb(("a modifié", "changed"), ("modifier", "change")),
    "delete": Verb(("a supprimé", "deleted"), ("supprimer", "delete")),
    "batch": Verb(
        ("a envoyé un lot de demandes", "sent a batch of requests"),
        ("envoyer un lot de demandes", "send a batch of requests"),
    ),
    "transaction": Verb(
        ("a enregistré ensemble plusieurs éléments", "recorded several items together"),
        ("enregistrer ensemble plusieurs éléments", "record several items together"),
    ),
    "$everything": Verb(
        ("a extrait tout le dossier", "took out the whole record"),
        ("extraire tout le dossier", "take out the whole record"),
    ),
    "$validate": Verb(
        ("a fait contrôler un élément", "had an item checked"), ("faire contrôler un élément", "have an item checked")
    ),
    "$meta": Verb(
        ("a consulté les étiquettes de", "read the labels of"), ("consulter les étiquettes de", "read the labels of")
    ),
    "$meta-add": Verb(("a ajouté des étiquettes à", "added labels to"), ("ajouter des étiquettes à", "add labels to")),
    "$meta-delete": Verb(
        ("a retiré des étiquettes de", "took labels from"), ("retirer des étiquettes de", "take labels from")
    ),
    "$lastn": Verb(
        ("a recherché dans le dossier", "searched the record"), ("rechercher dans le dossier", "search the record")
    ),
    "$access-list": Verb(
        ("a consulté la liste de ceux qui ont accès", "read the list of who has access"),
        ("consulter la liste de ceux qui ont accès", "read the list of who has access"),
    ),
    "$attending-doctor": Verb(
        ("a désigné le médecin traitant", "named the attending doctor"),
        ("désigner le médecin traitant", "name the attending doctor"),
    ),
    "$authorize": Verb(("a autorisé un accès", "authorised an access"), ("autoriser un accès", "authorise an access")),
    "$revoke": Verb(
        ("a retiré une autorisation", "ended an authorisation"), ("retirer une autorisation", "end an authorisation")
    ),
    "$block": Verb(
        ("a bloqué un professionnel ou une structure", "blocked a professional or an organization"),
        ("bloquer un professionnel ou une structure", "block a professional or an organization"),
    ),
    "$unblock": Verb(
        ("a débloqué un professionnel ou une structure", "unblocked a professional or an organization"),
        ("débloquer un professionnel ou une structure", "unblock a professional or an organization"),
    ),
    "$mask": Verb(("a masqué ou démasqué", "masked or unmasked"), ("masquer ou démasquer", "mask or unmask")),
    "$oppose": Verb(
        ("a changé l'opposition aux accès en urgence", "changed the opposition to emergency access"),
        ("changer l'opposition aux accès en urgence", "change the opposition to emergency access"),
    ),
    "$close": Verb(("a fermé le dossier", "closed the record"), ("fermer le dossier", "close the record")),
    "$reopen": Verb(("a rouvert le dossier", "reopened the record"), ("rouvrir le dossier", "reopen the record")),
    "$due-notices": Verb(
        ("a envoyé les avis arrivés à échéance", "sent the notices that had fallen due"),
        ("envoyer les avis arrivés à échéance", "send the notices that had fallen due"),
    ),
    "$twins": Verb(
        ("a cherché les dossiers d'une même identité", "looked for records of one identity"),
        ("chercher les dossiers d'une même identité", "look for records of one identity"),
    ),
    "$erase": Verb(("a effacé le dossier", "erased the record"), ("effacer le dossier", "erase the record")),
    "$counts": Verb(("a compté les traces", "counted the events"), ("compter les traces", "count the events")),
    "$proof": Verb(
        ("a demandé la preuve d'une trace", "asked for the proof of an event"),
        ("obtenir la preuve d'une trace", "have the proof of an event"),
    ),
    "$head": Verb(
        ("a consulté le sceau des traces", "read the seal of the log"),
        ("consulter le sceau des traces", "read the seal of the log"),
    ),
    "$consistency": Verb(
        ("a vérifié que les traces n'ont fait que s'ajouter", "checked that the log only grew"),
        ("vérifier que les traces n'ont fait que s'ajouter", "check that the log only grew"),
    ),
    "$entries": Verb(
        ("a extrait des traces", "took out a part of the log"), ("extraire des traces", "take out a part of the log")
    ),
    "audit-retire-start": Verb(
        ("a commencé à retirer un mois des traces", "began to remove a month of the log"),
        ("commencer à retirer un mois des traces", "begin to remove a month of the log"),
    ),
    "audit-retire": Verb(
        ("a retiré un mois des traces", "removed a month of the log"),
        ("retirer un mois des traces", "remove a month of the log"),
    ),
    "audit-rotate-key": Verb(
        ("a changé la clé qui signe les traces", "changed the key that signs the log"),
        ("changer la clé qui signe les traces", "change the key that signs the log"),
    ),
    "audit-verify": Verb(("a vérifié les traces", "verified the log"), ("vérifier les traces", "verify the log")),
    "record-erase": Verb(
        ("a cherché les dossiers à effacer", "looked for records to be erased"),
        ("chercher les dossiers à effacer", "look for records to be erased"),
    ),
    "$explain": Verb(
        ("a demandé qui peut accéder à quoi, et pourquoi", "asked who may reach what, and why"),
        ("savoir qui peut accéder à quoi, et pourquoi", "know who may reach what, and why"),
    ),
    "authorize": Verb(
        ("a autorisé une application", "authorised an application"),
        ("autoriser une application", "authorise an application"),
    ),
    "token": Verb(("a obtenu un accès", "obtained access"), ("obtenir un accès", "obtain access")),
    "operator-token": Verb(
        ("a obtenu un accès en ligne de commande", "obtained access at the command line"),
        ("obtenir un accès en ligne de commande", "obtain access at the command line"),
    ),
    "login": Verb(("s'est connecté", "signed in"), ("se connecter", "sign in")),
    "logout": Verb(("s'est déconnecté", "signed out"), ("se déconnecter", "sign out")),
    "revoke": Verb(("a mis fin à un accès", "ended an access"), ("mettre fin à un accès", "end an access")),
    "introspect": Verb(
        ("a vérifié ce que vaut un accès", "asked what an access is worth"),
        ("vérifier ce que vaut un accès", "know what an access is worth"),
    ),
    "userinfo": Verb(
        ("a demandé au nom de qui est son accès", "asked in whose name its access is"),
        ("savoir au nom de qui est son accès", "know in whose name its access is"),
    ),
    "launch": Verb(
        ("a lancé une application", "launched an application"), ("lancer une application", "launch an application")
    ),
    "client-add": Verb(
        ("a enregistré une application ou un système", "registered an application or a system"),
        ("enregistrer une application ou un système", "register an application or a system"),
    ),
    "client-list": Verb(
        ("a consulté la liste des applications et des systèmes", "read the list of applications and systems"),
        ("consulter la liste des applications et des systèmes", "read the list of applications and systems"),
    ),
    "client-remove": Verb(
        ("a retiré une application ou un système", "removed an application or a system"),
        ("retirer une application ou un système", "remove an application or a system"),
    ),
    "account-add": Verb(("a ouvert un compte", "opened an account"), ("ouvrir un compte", "open an account")),
    "account-list": Verb(
        ("a consulté la liste des comptes", "read the list of accounts"),
        ("consulter la liste des comptes", "read the list of accounts"),
    ),
    "account-disable": Verb(
        ("a désactivé un compte", "disabled an account"), ("désactiver un compte", "disable an account")
    ),
    "account-enable": Verb(
        ("a réactivé un compte", "enabled an account"), ("réactiver un compte", "enable an account")
    ),
    "account-remove": Verb(
        ("a supprimé un compte", "removed an account"), ("supprimer un compte", "remove an account")
    ),
    "account-password": Verb(
        ("a changé le mot de passe d'un compte", "changed the password of an account"),
        ("changer le mot de passe d'un compte", "change the password of an account"),
    ),
    "account-totp": Verb(
        ("a changé le second facteur d'un compte", "changed the second factor of an account"),
        ("changer le second facteur d'un compte", "change the second factor of an account"),
    ),
    "account-represent": Verb(
        ("a rattaché un compte au dossier d'autrui", "tied an account to another's record"),
        ("rattacher un compte au dossier d'autrui", "tie an account to another's record"),
    ),
    "break-glass-start": Verb(
        ("a ouvert le dossier en bris de glace", "broke the glass to open the record"),
        ("ouvrir le dossier en bris de glace", "break the glass to open the record"),
    ),
    "break-glass-end": Verb(
        ("a terminé l'accès en bris de glace", "ended the access by breaking the glass"),
        ("terminer l'accès en bris de glace", "end the access by breaking the glass"),
    ),
    "break-glass-expiry": Verb(
        ("n'a plus l'accès ouvert en bris de glace", "no longer has the access that broke the glass")
    ),
    "busy": Verb(("n'a pas été servi, faute de place", "was turned away for want of room")),
    "flood": Verb(("a été refusé sans cesse", "was refused again and again")),
    "decision": Verb(("a été refusé par un consentement", "was refused by a consent")),
    "submitted": Verb(("a transmis une trace de son propre système", "reported an event of its own system")),
}
"""By the act; of all others it is only said that something was asked for."""

SAID_NO = Verb(("a refusé une application", "refused an application"))
OTHER = Verb(("a fait une demande", "made a request"))
LEFT = Verb(("n'a rien changé", "changed nothing"))

OF_NOBODY: Mapping[str, Verb] = {
    "search-type": Verb(("a recherché", "searched"), ("rechercher", "search")),
    "search-system": Verb(("a recherché", "searched"), ("rechercher", "search")),
    "$lastn": Verb(("a recherché", "searched"), ("rechercher", "search")),
    "$everything": Verb(
        ("a reçu, avec un dossier", "was given, beside a record"),
        ("extraire tout un dossier", "take out a whole record"),
    ),
}
"""The same of what is in nobody's record."""

ASKED: Both = ("a demandé à", "asked to")
