"""Lines of the log: several workers write to one standard error."""

import io
import json

import structlog

from fhir_dmp.log import configure


class Pieces(io.StringIO):
    """A standard error that remembers what it was given at once."""

    def __init__(self):
        super().__init__()
        self.pieces = []

    def write(self, text):
        """Keep the piece."""
        self.pieces.append(text)
        return len(text)


def test_a_line_of_the_log_is_written_in_one_piece(monkeypatch):
    """Its end came apart from it, and lines that two workers wrote at the same moment stood as one that nobody could read."""
    told = Pieces()
    monkeypatch.setattr("sys.stderr", told)
    configure("INFO")
    structlog.get_logger("pieces").error("not-closed", seconds=2.0)
    (line,) = told.pieces
    assert line.endswith("\n")
    assert json.loads(line)["event"] == "not-closed"
