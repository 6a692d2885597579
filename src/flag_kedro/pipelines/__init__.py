"""Kedro pipelines, thin: they name inputs, call one library function and return."""
