"""Students: their configurations, building one, reading and writing one."""

from captioning.student.folder import load_folder, save_folder
from captioning.student.loading import Student, load_student
from captioning.student.processor import load_tokenizer
from captioning.student.shapes import build, infer_config, preprocessing_of, seed_config, small_config

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
