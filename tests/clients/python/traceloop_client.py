"""Makes two traces with Traceloop's client. Its settings are in its variables."""

import asyncio
import os
import sys

from traceloop.sdk import Traceloop
from traceloop.sdk.decorators import agent, task, tool, workflow

Traceloop.init(app_name=os.environ["OTEL_SERVICE_NAME"])


@workflow(name="answer")
async def answer(question):
    Traceloop.set_association_properties({"plan": "grüße"})
    search(question)
    await asyncio.gather(*(think(number) for number in range(24)))
    return "done"


@tool(name="search")
def search(question):
    try:
        read("no such page: ☃")
    except ValueError:
        pass
    return {"texts": ["a", "ü"], "whole": 9007199254740993}


@task(name="read")
def read(text):
    raise ValueError(text)


@agent(name="think")
async def think(number):
    await asyncio.sleep(0.01)
    return await step(number)


@task(name="step")
async def step(number):
    await asyncio.sleep(0)
    return number


@workflow(name="report")
def report():
    return "done"


asyncio.run(answer("what? 🌍"))
sys.stdin.read()  # until the test closes it

report()
