"""Diagnosis of training curves: diagnose.py decides what is wrong, remedies.py lists what helps."""
