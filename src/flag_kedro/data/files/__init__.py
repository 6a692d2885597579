"""Prices and articles from a user's own tables, and articles from Hugging Face."""

from flag_kedro.data.files.news import read_news
from flag_kedro.data.files.prices import FilesConfig, read_files

__all__ = ["FilesConfig", "read_files", "read_news"]
