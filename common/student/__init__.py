"""The student: its shapes, building one, reading and writing one. With `common.engine`, all of `common` that imports
torch.
"""

from common.student.folder import load_folder, save_folder
from common.student.loading import Student, load_student
from common.student.processor import load_tokenizer
from common.student.shapes import build, infer_config, preprocessing_of, seed_config, small_config

__all__ = [
    "Student",
    "build",
    "infer_config",
    "load_folder",
    "load_student",
    "load_tokenizer",
    "preprocessing_of",
    "save_folder",
    "seed_config",
    "small_config",
]
