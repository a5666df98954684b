"""Makes two traces with OpenTelemetry's SDK and sends them over "http" or "grpc" (the argument).

The endpoint, the credential and the name of the service are in the variables of the SDK.
"""

import asyncio
import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

if sys.argv[1] == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("program", "1.2.3")

ATTRIBUTES = {
    "text": "grüße 🌍 \"quoted\" \\ \n",
    "empty": "",
    "yes": True,
    "whole": 9007199254740991,
    "negative": -42,
    "fraction": 0.1,
    "texts": ["a", "ü", ""],
    "wholes": [1, -2],
    "fractions": [0.5, 1e-300],
    "truths": [True, False],
    "nothing": [],
}


async def task(number):
    with tracer.start_as_current_span(f"task {number}"):
        await asyncio.sleep(0.01)
        with tracer.start_as_current_span(f"step {number}") as step:
            await asyncio.sleep(0)
            step.set_attribute("number", number)


async def answer():
    with tracer.start_as_current_span("answer", kind=SpanKind.SERVER, attributes=ATTRIBUTES) as span:
        with tracer.start_as_current_span("search", kind=SpanKind.CLIENT) as search:
            with tracer.start_as_current_span("rank") as rank:
                rank.add_event("ranked", {"hits": 3, "best": "é"})
            try:
                with tracer.start_as_current_span("read"):
                    raise ValueError("no such page: ☃")
            except ValueError:
                pass
            search.set_status(Status(StatusCode.OK))
        await asyncio.gather(*(task(number) for number in range(24)))
        with tracer.start_as_current_span("grüße 🌍"):
            pass
        return span.get_span_context()


answered = asyncio.run(answer())
print(f"{answered.trace_id:032x} {answered.span_id:016x}", flush=True)
sys.stdin.read()  # until the test closes it

with tracer.start_as_current_span("report", links=[Link(answered, {"reason": "a report"})]):
    with tracer.start_as_current_span("send", kind=SpanKind.PRODUCER):
        pass
provider.shutdown()
