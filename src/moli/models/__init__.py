"""Models behind two protocols: sentence encoders (`embedding`) and chat models (`chat`)."""
