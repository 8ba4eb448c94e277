import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import 'graphiql/style.css';
import { createRoot } from 'react-dom/client';

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

const defaultQuery = `# The API needs a token: paste it under "Headers" below,
# in place of <token>, then re-fetch the schema (left, below) for the docs.
# hooksctl token makes one for development.

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
    shouldPersistHeaders={false}
    showPersistHeadersSettings={false}
  />,
);
