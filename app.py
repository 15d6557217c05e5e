"""Conv3D Explorer: `streamlit run app.py`. Pages stand alone, so this file holds their list and nothing else."""

from pathlib import Path

import streamlit as st

LOGO = Path(__file__).parent / "assets" / "logo.png"

# A local file or an emoji: a material icon here would load a font from the network.
st.set_page_config(
    page_title="Conv3D Explorer", page_icon=LOGO if LOGO.exists() else "🧊", layout="wide", initial_sidebar_state=330
)
st.navigation(
    [
        st.Page("pages/explorer.py", title="Explorer", default=True),
        st.Page("pages/receptive_field.py", title="Receptive field"),
        st.Page("pages/shape_doctor.py", title="Shape doctor"),
        st.Page("pages/device.py", title="Device"),
    ],
    position="top",
).run()
