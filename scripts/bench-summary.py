"""Prints the figures of docs/performance.md from the files that scripts/bench-all left in a folder."""

import json
import pathlib
import sys

# What stands in the table: scenario, path in its results, what it is, how it is written.
FIGURES = [
    ("heartbeat-stream", "over_streams closed_loop per_second median", "durable heartbeats/s over streams", "{:,.0f}"),
    ("heartbeat-stream", "over_streams closed_loop cost per_server_cpu_second", "  for each second of a server's core", "{:,.0f}"),
    ("heartbeat-stream", "over_streams closed_loop cost commits_per_1000_operations", "  commits per 1,000", "{:.1f}"),
    ("heartbeat-stream", "over_streams closed_loop cost statements_per_operation", "  statements each", "{:.3f}"),
    ("heartbeat-stream", "over_streams open_loop at_75_percent p99_ms", "  p99 at 75 % in ms", "{:.1f}"),
    ("heartbeat-rest", "over_rest closed_loop per_second median", "durable heartbeats/s over REST", "{:,.0f}"),
    ("heartbeat-rest", "ratios heartbeats_over_hello", "  of bare hello", "{:.2f}"),
    ("heartbeat-rest", "over_rest closed_loop cost statements_per_operation", "  statements each", "{:.3f}"),
    ("heartbeat-rest", "over_rest open_loop at_75_percent p99_ms", "  p99 at 75 % in ms", "{:.1f}"),
    ("heartbeat-postgres", "over_streams closed_loop per_second median", "durable heartbeats/s on PostgreSQL", "{:,.0f}"),
    ("heartbeat-postgres", "over_streams closed_loop cost per_server_cpu_second", "  for each second of a server's core", "{:,.0f}"),
    ("replicas", "ratios cpu_of_a_heartbeat_over_one_server", "CPU of a heartbeat on three servers over one", "{:.2f}"),
    ("replicas", "command_reaches_its_agent p99_ms", "  p99 of a command's way to another server, ms", "{:.1f}"),
    ("renew", "renewals closed_loop per_second median", "renewals/s", "{:,.0f}"),
    ("renew", "renewals closed_loop cost per_server_cpu_second", "  for each second of a server's core", "{:,.0f}"),
    ("renew", "ratios renewals_over_verifications", "  of raw verifications", "{:.2f}"),
    ("renew", "renewals open_loop at_75_percent p99_ms", "  p99 at 75 % in ms", "{:.1f}"),
    ("enroll", "ratios raw_over_argon2id", "raw enrolments of raw Argon2id", "{:.2f}"),
    ("enroll", "proofs_of_one_token per_second", "enrolments/s with proofs of one token", "{:,.0f}"),
    ("enroll", "proofs_of_one_token seconds", "  seconds for all", "{:.1f}"),
    ("connected", "memory kib_per_agent", "KiB for each connected agent, TLS", "{:.1f}"),
    ("connected", "memory empty_server_kib", "  KiB of an empty server", "{:,.0f}"),
    ("connected", "cold_start_ms median", "  cold start in ms", "{:.0f}"),
    ("command", "seconds_until_every_receipt_is_durable median", "seconds for a command to all, receipts durable", "{:.2f}"),
    ("reconnect", "seconds_until_everybody_is_back median", "seconds until all are back, at once", "{:.2f}"),
    ("attack-37", "seconds_until_everybody_is_back median", "seconds until all are back after a kill, with backoff", "{:.2f}"),
    ("flood", "bad_tokens_of_many_sources p99_over_quiet", "p99 of heartbeats over quiet, bad tokens", "{:.2f}"),
    ("flood", "machines_that_join p99_over_quiet", "p99 of heartbeats over quiet, raw enrolments", "{:.2f}"),
    ("mixed", "heartbeats p99_ms", "p99 of heartbeats in the mixture, ms", "{:.1f}"),
    ("ingest", "new_resources_per_second median", "new resources/s", "{:,.0f}"),
    ("ingest", "unchanged_resources_per_second median", "unchanged resources/s", "{:,.0f}"),
    ("ingest", "unchanged rows_written", "  rows that these wrote", "{:,.0f}"),
    ("ingest", "new memory_kib before", "  KiB of the server before new ones", "{:,.0f}"),
    ("ingest", "new memory_kib peak", "  at most meanwhile", "{:,.0f}"),
    ("ingest", "heartbeats_alone p99_ms", "p99 of heartbeats without ingest, ms", "{:.1f}"),
    ("ingest", "new heartbeats_meanwhile p99_ms", "p99 of heartbeats beside ingest, ms", "{:.1f}"),
    ("ingest-postgres", "new_resources_per_second median", "new resources/s on PostgreSQL", "{:,.0f}"),
    ("ingest-postgres", "new heartbeats_meanwhile p99_ms", "p99 of heartbeats beside that, ms", "{:.1f}"),
    ("pages", "pages slowest_p99_ms", "slowest page among all stored, p99 in ms", "{:.1f}"),
    ("pages", "pages seconds_until_searches_are_quick", "  seconds until searches are quick", "{:.1f}"),
    ("pages-postgres", "pages slowest_p99_ms", "slowest page on PostgreSQL, p99 in ms", "{:.1f}"),
    ("store-commit", "bare_upserts resource_rows_per_second median", "bare upserts like resources/s", "{:,.0f}"),
    ("store-commit", "bare_upserts presence_rows_per_second median", "bare upserts like presence/s", "{:,.0f}"),
    ("store-commit-postgres", "bare_upserts presence_rows_per_second median", "  the same on PostgreSQL", "{:,.0f}"),
    ("growth", "slopes connected_kib", "slope of memory over agents", "{:.2f}"),
    ("growth", "slopes heartbeat_cpu_ms", "  of CPU for a heartbeat of each", "{:.2f}"),
    ("growth", "slopes command_cpu_ms", "  of CPU for a command to all", "{:.2f}"),
    ("growth", "slopes reconnect_cpu_ms", "  of CPU when all come back", "{:.2f}"),
    ("growth-stored", "slopes connected_kib", "slope of memory, a million resources stored", "{:.2f}"),
    ("growth-stored", "slopes heartbeat_cpu_ms", "  of CPU for a heartbeat of each", "{:.2f}"),
    ("growth-stored", "slopes command_cpu_ms", "  of CPU for a command to all", "{:.2f}"),
    ("growth-stored", "slopes reconnect_cpu_ms", "  of CPU when all come back", "{:.2f}"),
]


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    reports = {}
    for scenario in dict.fromkeys(figure[0] for figure in FIGURES):
        try:
            reports[scenario] = json.loads((folder / f"{scenario}.json").read_text())
        except (OSError, ValueError):
            continue
    for scenario, path, what, form in FIGURES:
        report = reports.get(scenario, {})
        value = report.get("results", report)
        for name in path.split():
            value = value.get(name) if isinstance(value, dict) else None
        shown = "missing" if value is None else form.format(value)
        print(f"{what:<56} {shown:>10}")
    for scenario, report in reports.items():
        if "calibration" not in report:
            continue
        before = report["calibration"]["before"]
        probes = ", ".join(f"{name} {value:,.0f}/s" for name, value in before.items())
        print(f"{scenario}: {probes}")
        for mark in report["marks"]:
            print(f"  ! {mark}")


main()
