"""Kedro datasets whose saves happen whole or not at all."""
