"""Makes two traces with Logfire's client. Its settings are in its variables."""

import asyncio
import sys

import logfire

logfire.configure()


async def answer(question):
    with logfire.span("answer {question}", question=question, _span_name="answer", _tags=["ü"]):
        search(whole=9007199254740993, fraction=0.1, texts=["a", "ü"], yes=True)
        await asyncio.gather(*(task(number) for number in range(24)))


@logfire.instrument("search")
def search(whole, fraction, texts, yes):
    logfire.info("ranked {hits} pages", hits=3)
    try:
        with logfire.span("read"):
            raise ValueError("no such page: ☃")
    except ValueError:
        pass


@logfire.instrument("task")
async def task(number):
    await asyncio.sleep(0.01)
    with logfire.span("step"):
        await asyncio.sleep(0)


asyncio.run(answer("what? 🌍"))
sys.stdin.read()  # until the test closes it

with logfire.span("report"):
    pass
logfire.shutdown()
