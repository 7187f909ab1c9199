"""What Prometheus reads from a server."""

from __future__ import annotations

from functools import cache
from typing import Any

from besana.errors import MissingExtraError

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Figures:
    """Counters of one server; those with labels are called with them.

    Raises:
        MissingExtraError: If prometheus-client is not installed.
    """

    def __init__(self) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError:
            raise MissingExtraError(
                "Serving needs prometheus-client.", 'Run: pip install "besana[serve]"'
            ) from None
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Any:
            made = Counter(f"besana_{name}", text, labels, registry=self.registry)
            return cache(made.labels) if labels else made

        self.requests = counter("requests", "Requests by route and status.", "route", "status")
        self.turned_away = counter(
            "turned_away_requests", "Requests refused unread because too many were under way."
        )
        self.pictures = counter(
            "pictures", "Pictures judged by version and role.", "version", "role"
        )
        self.classes = counter("predictions", "Predictions by class.", "version", "class_name")
        self.refused = counter("refused_pictures", "Pictures refused by reason.", "reason")
        self.models_refused = counter("refused_models", "Versions that were not loaded.")
        self.rows_lost = counter("lost_rows", "Predictions that were not kept.")
        self.seconds = Histogram(
            *("besana_request_seconds", "Seconds from request to answer.", ("route",)),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batches = Histogram(
            *("besana_batch_pictures", "Pictures judged together."),
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.waiting = Gauge("besana_waiting_pictures", "Pictures waiting.", registry=self.registry)
        self.champion = Gauge("besana_champion", "Version that answers.", registry=self.registry)
        self.parity = Gauge(
            *("besana_parity_probability_gap", "Gap on the golden set here.", ("version",)),
            registry=self.registry,
        )

    def text(self) -> bytes:
        """Write everything as Prometheus reads it."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)
