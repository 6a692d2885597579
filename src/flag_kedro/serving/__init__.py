"""Using a trained policy where no Kedro is."""
