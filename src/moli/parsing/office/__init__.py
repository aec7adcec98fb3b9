"""Parts that Office formats share: XML, charts, equations and list numbers."""
