"""One file a form: its fit, its coefficients, its refusals."""
