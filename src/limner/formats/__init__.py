"""Other tools' files: read, written, checked and published."""

from .exporting import FORMATS, Exported, export
from .importing import Imported, import_file

__all__ = ["FORMATS", "Exported", "Imported", "export", "import_file"]
