"""Reads metrics and alert rules with the parsers of Prometheus.

Arguments: a scrape as Prometheus text, one as OpenMetrics, and the file of the alert rules. Prints the number of
samples, families and rules. The parser of OpenMetrics is strict: it refuses a wrong suffix, unit or order.
"""

import sys

import promql_parser
import yaml
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

TYPES = {"counter", "gauge", "histogram", "info"}


def families(parse, path):
    with open(path, encoding="utf-8", newline="") as file:
        found = {}
        for family in parse(file):
            if family.name in found:
                sys.exit(f"{path}: {family.name} is there twice")
            if not family.documentation or family.type not in TYPES or not family.samples:
                sys.exit(f"{path}: {family.name} has type {family.type}, {len(family.samples)} samples, and the text "
                         f"{family.documentation!r}")
            found[family.name] = family
        return found


def values(families):
    """Returns all values, apart from the lines about the target: their types differ."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families.values()
        for sample in family.samples
        if not sample.name.startswith("target")
    }


plain = families(parser.text_fd_to_metric_families, sys.argv[1])
strict = families(openmetrics.text_fd_to_metric_families, sys.argv[2])
if values(plain) != values(strict):
    sys.exit(f"the formats differ: {values(plain).items() ^ values(strict).items()}")
units = {family.unit for family in strict.values() if family.unit}
if units != {"bytes", "seconds"}:
    sys.exit(f"units: {units}")

with open(sys.argv[3], encoding="utf-8") as file:
    groups = yaml.safe_load(file)["groups"]
rules = [rule for group in groups for rule in group["rules"]]
for rule in rules:
    promql_parser.parse(rule["expr"])
    if not {"alert", "labels", "annotations"} <= rule.keys() or "summary" not in rule["annotations"]:
        sys.exit(f"incomplete: {rule}")
if len({rule["alert"] for rule in rules}) != len(rules):
    sys.exit("two rules have one name")
print(len(values(strict)), len(strict), len(rules))
