"""What ``streamlit run`` runs for every page and every click."""

from coinbeam.clock import utc_now
from coinbeam.settings import load_settings
from serving.dashboard.page import show

show(load_settings(), utc_now)
