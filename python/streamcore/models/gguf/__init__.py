"""Models in GGUF files, the format of llama.cpp.

    container   the header of a file
    files       a model in one file or in several
    metadata, architectures, rope    what the header says, as a config.json
    blocks, tensors    numbers, widened and in the order of the family
    vocabulary, byte_level, sentence_piece, text_files    the tokenizer, as files of a model folder

Families and formats know nothing of it: they see tensors by the names that they declare.
"""

from streamcore.models.gguf.files import is_gguf, name_of_file
from streamcore.models.gguf.model import GgufModel, open_gguf
from streamcore.models.gguf.tensors import GgufSource

__all__ = ["GgufModel", "GgufSource", "is_gguf", "name_of_file", "open_gguf"]
