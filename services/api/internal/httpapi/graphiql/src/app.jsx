import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import 'graphiql/style.css';
import { createRoot } from 'react-dom/client';
import './page.css';

// Monaco's workers come from this server, like everything else.
globalThis.MonacoEnvironment = {
  getWorker(_id, label) {
    const name = label === 'json' || label === 'graphql' ? label : 'editor';
    return new Worker(`/graphiql/${name}.worker.js`, { name: label });
  },
};

// A link may bring a token in its fragment, which browsers send to nobody. It
// is taken out of the address bar and never stored.
const token = new URLSearchParams(location.hash.slice(1)).get('token');
if (token) {
  history.replaceState(null, '', location.pathname + location.search);
}

// GraphiQL's history would store the headers, and with them the token, in the
// browser: nothing named so is written there.
const storage = {
  get length() {
    return localStorage.length;
  },
  getItem: (key) => localStorage.getItem(key),
  removeItem: (key) => localStorage.removeItem(key),
  clear: () => localStorage.clear(),
  setItem(key, value) {
    if (key.endsWith(':headers')) return;
    let kept = value;
    try {
      kept = JSON.stringify(JSON.parse(value, (name, member) => (name === 'headers' ? undefined : member)));
    } catch {
      // Not JSON: a query, a theme, a width.
    }
    localStorage.setItem(key, kept);
  },
};

const defaultQuery = `# Paste a token under "Headers" below, in place of
# <token>; hooksctl token makes one. Then re-fetch
# the schema (the arrows on the left) for the docs.

query WhoAmI {
  viewer {
    subject
    tenantId
    role
    permissions
  }
}
`;

createRoot(document.getElementById('graphiql')).render(
  <GraphiQL
    fetcher={createGraphiQLFetcher({ url: '/graphql' })}
    defaultQuery={defaultQuery}
    defaultHeaders={JSON.stringify({ Authorization: 'Bearer <token>' }, null, 2)}
    initialHeaders={token ? JSON.stringify({ Authorization: `Bearer ${token}` }, null, 2) : undefined}
    defaultEditorToolsVisibility="headers"
    storage={storage}
    shouldPersistHeaders={false}
    showPersistHeadersSettings={false}
  />,
);
