"""``report.html``: the page, its sections, charts and pictures."""
