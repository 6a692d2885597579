"""Prices and articles from a user's own tables, and articles from Hugging Face."""

from flag_kedro.data.files.config import FilesConfig
from flag_kedro.data.files.news import read_news
from flag_kedro.data.files.prices import read_files

__all__ = ["FilesConfig", "read_files", "read_news"]
