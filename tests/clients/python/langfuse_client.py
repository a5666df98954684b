"""Makes two traces with Langfuse's client. Its settings are in its variables."""

import asyncio
import sys

from langfuse import get_client, observe, propagate_attributes

langfuse = get_client()


@observe()
async def answer(question):
    with propagate_attributes(session_id="chat", user_id="7", tags=["a", "ü"], metadata={"plan": "grüße"}):
        search(question)
        await asyncio.gather(*(task(number) for number in range(24)))
    return "done"


@observe(as_type="retriever")
def search(question):
    with langfuse.start_as_current_observation(
        name="rank",
        as_type="generation",
        model="ranker",
        input=[{"role": "user", "content": question}],
        usage_details={"input": 12, "output": 3},
        cost_details={"total": 0.1},
    ) as rank:
        rank.update(output="ü", metadata={"whole": 9007199254740993})
    try:
        read()
    except ValueError:
        pass
    return ["a", "ü"]


@observe()
def read():
    raise ValueError("no such page: ☃")


@observe()
async def task(number):
    await asyncio.sleep(0.01)
    return await step(number)


@observe()
async def step(number):
    await asyncio.sleep(0)
    return number


@observe()
def report():
    return "done"


asyncio.run(answer("what? 🌍"))
sys.stdin.read()  # until the test closes it

report()
langfuse.shutdown()
