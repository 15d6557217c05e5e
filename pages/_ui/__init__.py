"""Streamlit on one side, the core on the other: the only modules that know both."""
