"""What happens around every run: checked parameters, one run per data folder, clean endings, a summary."""

from flag_kedro.hooks.project import ProjectHooks

__all__ = ["ProjectHooks"]
