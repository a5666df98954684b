"""Makes a session and two traces with HoneyHive's client. Its settings are in its variables."""

import asyncio
import sys

from honeyhive import HoneyHiveTracer, trace

tracer = HoneyHiveTracer.init(session_name="chat", source="production")


@trace(tracer=tracer, event_type="chain", event_name="answer")
async def answer(question):
    found = await search(question)
    try:
        await read("no such page: ☃")
    except ValueError:
        pass
    return await asyncio.gather(*(task(number) for number in range(24)))


@trace(tracer=tracer, event_type="tool", event_name="search")
async def search(question):
    tracer.enrich_span(metadata={"hits": 3, "texts": ["a", "ü"]}, metrics={"score": 0.1})
    return await rank(question)


@trace(tracer=tracer, event_type="model", event_name="rank")
async def rank(question):
    return {"best": question, "whole": 9007199254740993}


@trace(tracer=tracer, event_type="tool", event_name="read")
async def read(text):
    raise ValueError(text)


@trace(tracer=tracer, event_name="task")
async def task(number):
    await asyncio.sleep(0.01)
    return await step(number)


@trace(tracer=tracer, event_name="step")
async def step(number):
    await asyncio.sleep(0)
    return number


@trace(tracer=tracer, event_name="report")
def report():
    return "done"


tracer.enrich_session(metadata={"plan": "grüße"})
asyncio.run(answer("what? 🌍"))
sys.stdin.read()  # until the test closes it

report()
tracer.enrich_session(outputs={"answer": "done"}, metrics={"score": 1.5}, user_properties={"user_id": "7"})
print(tracer.session_id)
tracer.force_flush()
tracer.shutdown()
