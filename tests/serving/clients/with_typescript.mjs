// Every method of CoinGecko's SDK for TypeScript over our routes; prints what each returned as JSON.
import Coingecko, { NotFoundError } from '@coingecko/coingecko-typescript';

const [baseURL, demoAPIKey] = process.argv.slice(2);
const client = new Coingecko({ baseURL, demoAPIKey, maxRetries: 0 });
const found = {
  ping: await client.ping.get(),
  price: await client.simple.price.get({ ids: 'bitcoin,ethereum', vs_currencies: 'usd,eur', include_last_updated_at: true }),
  currencies: await client.simple.supportedVsCurrencies.get(),
  list: await client.coins.list.get({ include_platform: true }),
  markets: await client.coins.markets.get({ vs_currency: 'usd', sparkline: true, price_change_percentage: '24h' }),
  coin: await client.coins.getID('bitcoin'),
  chart: await client.coins.marketChart.get('bitcoin', { vs_currency: 'usd', days: '30' }),
  range: await client.coins.marketChart.getRange('bitcoin', { vs_currency: 'usd', from: '2026-11-01', to: '2026-11-19' }),
  history: await client.coins.history.get('bitcoin', { date: '19-11-2026' }),
  global: await client.global.get(),
  search: await client.search.get({ query: 'coin' }),
  key: await client.key.get(),
};
await client.coins.getID('nope').catch((error) => {
  if (!(error instanceof NotFoundError)) throw error;
  found.unknown = error.error;
});
console.log(JSON.stringify(found));
