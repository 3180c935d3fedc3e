"""What the product does: record, spool, drain, take over, estimate, report. It knows neither SQL nor LiveKit."""
