"""Pages and tables that are written from measurements, and the measurements themselves."""
