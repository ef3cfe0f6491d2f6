-- The shop's own tables. They live beside pgjobq's in one database: that is what lets an order and its jobs commit together.
-- Written so that it may run again on a database that has them already.

CREATE SCHEMA IF NOT EXISTS shop;

CREATE TABLE IF NOT EXISTS shop.merchant (
    slug text PRIMARY KEY,
    name text NOT NULL
);

-- on_hand: what lies on the shelf. promised: how much of that belongs to orders whose stock is not yet set aside.
CREATE TABLE IF NOT EXISTS shop.product (
    id          int PRIMARY KEY,
    slug        text NOT NULL UNIQUE,
    name        text NOT NULL,
    blurb       text NOT NULL,
    merchant    text NOT NULL REFERENCES shop.merchant,
    price_cents int NOT NULL CHECK (price_cents > 0),
    on_hand     int NOT NULL CHECK (on_hand >= 0),
    promised    int NOT NULL DEFAULT 0,
    CONSTRAINT nothing_is_promised_that_is_not_there CHECK (promised BETWEEN 0 AND on_hand)
);

CREATE TABLE IF NOT EXISTS shop.basket (
    id         uuid PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS shop.basket_line (
    basket   uuid NOT NULL REFERENCES shop.basket ON DELETE CASCADE,
    product  int NOT NULL REFERENCES shop.product,
    quantity int NOT NULL CHECK (quantity BETWEEN 1 AND 20),
    PRIMARY KEY (basket, product)
);

-- One basket, one order: this unique key is what a double click runs into.
CREATE TABLE IF NOT EXISTS shop.orders (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    basket      uuid NOT NULL UNIQUE REFERENCES shop.basket,
    name        text NOT NULL,
    email       text NOT NULL,
    address     text NOT NULL,
    total_cents int NOT NULL CHECK (total_cents >= 0),
    placed_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS shop.order_line (
    order_id    bigint NOT NULL REFERENCES shop.orders,
    product     int NOT NULL REFERENCES shop.product,
    quantity    int NOT NULL CHECK (quantity > 0),
    price_cents int NOT NULL,
    PRIMARY KEY (order_id, product)
);
CREATE INDEX IF NOT EXISTS order_line_product ON shop.order_line (product);

-- Stock set aside for an order. The key makes setting aside idempotent.
CREATE TABLE IF NOT EXISTS shop.reservation (
    order_id    bigint NOT NULL REFERENCES shop.orders,
    product     int NOT NULL REFERENCES shop.product,
    quantity    int NOT NULL,
    reserved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (order_id, product)
);

-- Which merchant has accepted which order, so that a second attempt asks only those who have not.
CREATE TABLE IF NOT EXISTS shop.merchant_notice (
    order_id    bigint NOT NULL REFERENCES shop.orders,
    merchant    text NOT NULL REFERENCES shop.merchant,
    reference   text NOT NULL,
    accepted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (order_id, merchant)
);

-- The books. On purpose there is NO unique key over order_id: what keeps a second entry out is that the entry and the
-- completion of its job commit together (shop/tasks/bookkeeping.py). The demo counts the entries to prove it.
CREATE TABLE IF NOT EXISTS shop.journal (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id   bigint NOT NULL REFERENCES shop.orders,
    written_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS journal_order ON shop.journal (order_id);

-- Double entry: debits are positive, credits negative; each journal entry sums to zero.
CREATE TABLE IF NOT EXISTS shop.posting (
    journal      bigint NOT NULL REFERENCES shop.journal,
    account      text NOT NULL CHECK (account IN ('receivables', 'sales', 'tax owed')),
    amount_cents int NOT NULL,
    PRIMARY KEY (journal, account)
);
