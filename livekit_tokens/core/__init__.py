"""What the product does: record, spool, drain, take over, estimate, report. Against protocols, not against SQL or LiveKit."""
