// Runs all audits of graphql-http (MUST, SHOULD and MAY) against a running api:
//
//   npm ci && node audit.mjs http://localhost:8080/graphql "$(hooksctl token)"
//
// Ends with 1 unless all of them pass. audits.go has the same audits for
// machines without Node.
import { serverAudits } from 'graphql-http';

const [url, token] = process.argv.slice(2);
if (!url || !token) {
  console.error('usage: node audit.mjs URL TOKEN');
  process.exit(2);
}

const expected = 61;
const audits = serverAudits({
  url,
  fetchFn: (input, init = {}) =>
    fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } }),
});

const passed = {};
let failures = 0;
for (const audit of audits) {
  const level = audit.name.split(' ')[0];
  const result = await audit.fn();
  if (result.status === 'ok') {
    passed[level] = (passed[level] ?? 0) + 1;
  } else {
    failures++;
    console.error(`${result.status} ${audit.id} ${audit.name}: ${result.reason}`);
  }
  await result.response?.body?.cancel().catch(() => {}); // or the connection stays open
}
const count = audits.length - failures;
console.log(`${count} of ${audits.length} audits passed`, passed);
process.exit(failures === 0 && audits.length === expected ? 0 : 1);
