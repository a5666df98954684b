// Makes two traces with OpenTelemetry's SDK. The protocol, the endpoint, the credential and the
// name of the service are in the variables of the SDK.

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { NodeSDK } from '@opentelemetry/sdk-node';

const sdk = new NodeSDK();
sdk.start();
const tracer = trace.getTracer('program', '1.2.3');

const attributes = {
  text: 'grüße 🌍 "quoted" \\ \n',
  empty: '',
  yes: true,
  whole: 9007199254740991,
  negative: -42,
  fraction: 0.1,
  texts: ['a', 'ü', ''],
  wholes: [1, -2],
  fractions: [0.5, 1e-300],
  truths: [true, false],
  nothing: [],
};

const task = (number) =>
  tracer.startActiveSpan(`task ${number}`, async (span) => {
    await sleep(10);
    await tracer.startActiveSpan(`step ${number}`, async (step) => {
      await sleep(0);
      step.setAttribute('number', number);
      step.end();
    });
    span.end();
  });

const answered = await tracer.startActiveSpan('answer', { kind: SpanKind.SERVER, attributes }, async (answer) => {
  tracer.startActiveSpan('search', { kind: SpanKind.CLIENT }, (search) => {
    tracer.startActiveSpan('rank', (rank) => {
      rank.addEvent('ranked', { hits: 3, best: 'é' });
      rank.end();
    });
    tracer.startActiveSpan('read', (read) => {
      try {
        throw new TypeError('no such page: ☃');
      } catch (error) {
        read.recordException(error);
        read.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
      }
      read.end();
    });
    search.setStatus({ code: SpanStatusCode.OK });
    search.end();
  });
  await Promise.all([...Array(24).keys()].map(task));
  tracer.startActiveSpan('grüße 🌍', (span) => span.end());
  answer.end();
  return answer.spanContext();
});
console.log(`${answered.traceId} ${answered.spanId}`);
process.stdin.resume();
await once(process.stdin, 'end'); // the test closes it

const links = [{ context: answered, attributes: { reason: 'a report' } }];
tracer.startActiveSpan('report', { links }, (report) => {
  tracer.startActiveSpan('send', { kind: SpanKind.PRODUCER }, (send) => send.end());
  report.end();
});
await sdk.shutdown();
