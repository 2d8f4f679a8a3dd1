"""HTTP: parse, call, render; the only place that knows Flask and statuses."""
