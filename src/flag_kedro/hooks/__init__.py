"""What happens around every run, one class a job; `settings.HOOKS` puts them together."""
