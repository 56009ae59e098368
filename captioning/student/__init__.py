"""Student models: configurations, building, loading and saving."""

from captioning.student.config import build, deployed_config, infer_config, preprocessing_of, small_config
from captioning.student.folder import load_folder, save_folder
from captioning.student.loading import Student, load_student
from captioning.student.processor import load_tokenizer

__all__ = [
    "Student",
    "build",
    "deployed_config",
    "infer_config",
    "load_folder",
    "load_student",
    "load_tokenizer",
    "preprocessing_of",
    "save_folder",
    "small_config",
]
