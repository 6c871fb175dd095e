-- The SQLite mirror of the built-in pipeline, as Millrace makes it: derived from
-- resources/pipelines/orders.toml, with the engine's own `_quarantine` and `_files`. Kept current by a test
-- (`UPDATE=1 cargo test --test docs` writes it).

CREATE TABLE "customer" (
  "id" TEXT,
  "name" TEXT,
  "email" TEXT,
  "phone_area_code" TEXT,
  "phone_country_code" TEXT,
  "phone_number" TEXT,
  "document" TEXT,
  "type" TEXT,
  "_batch_id" INTEGER,
  "_source_file" TEXT,
  "_sequence" TEXT,
  "_sequence_version" INTEGER,
  "_ingested_at" TEXT,
  PRIMARY KEY ("id")
);

CREATE TABLE "delivery_address" (
  "id" TEXT,
  "receiver_name" TEXT,
  "street" TEXT,
  "number" TEXT,
  "complement" TEXT,
  "neighborhood" TEXT,
  "city" TEXT,
  "short_state" TEXT,
  "state" TEXT,
  "zip_code" TEXT,
  "country_code" TEXT,
  "_batch_id" INTEGER,
  "_source_file" TEXT,
  "_sequence" TEXT,
  "_sequence_version" INTEGER,
  "_ingested_at" TEXT,
  PRIMARY KEY ("id")
);

CREATE TABLE "seller" (
  "id" TEXT,
  "sku_id" TEXT,
  "name" TEXT,
  "_batch_id" INTEGER,
  "_source_file" TEXT,
  "_sequence" TEXT,
  "_sequence_version" INTEGER,
  "_ingested_at" TEXT,
  PRIMARY KEY ("id")
);

CREATE TABLE "promotion" (
  "id" TEXT,
  "name" TEXT,
  "discount_type" TEXT,
  "coupon_id" TEXT,
  "coupon_type" TEXT,
  "coupon_code" TEXT,
  "value" DECIMAL(18,4),
  "value_applied" DECIMAL(18,4),
  "_batch_id" INTEGER,
  "_source_file" TEXT,
  "_sequence" TEXT,
  "_sequence_version" INTEGER,
  "_ingested_at" TEXT,
  PRIMARY KEY ("id")
);

CREATE TABLE "warehouse" (
  "id" TEXT,
  "_batch_id" INTEGER,
  "_source_file" TEXT,
  "_sequence" TEXT,
  "_sequence_version" INTEGER,
  "_ingested_at" TEXT,
  PRIMARY KEY ("id")
);

CREATE TABLE "item" (
  "id" TEXT,
  "product_name" TEXT,
  "product_slug" TEXT,
  "name" TEXT,
  "slug" TEXT,
  "thumbnail" TEXT,
  "warehouse_id" TEXT,
  "seller_id" TEXT,
  "price" DECIMAL(18,4),
  "original_price" DECIMAL(18,4),
  "unit_price" DECIMAL(18,4),
  "unit_original_price" DECIMAL(18,4),
  "price_discount" DECIMAL(18,4),
  "unit_financial_discount" DECIMAL(18,4),
  "unit_reversal_value" DECIMAL(18,4),
  "_batch_id" INTEGER,
  "_source_file" TEXT,
  "_sequence" TEXT,
  "_sequence_version" INTEGER,
  "_ingested_at" TEXT,
  PRIMARY KEY ("id"),
  FOREIGN KEY ("warehouse_id") REFERENCES "warehouse" ("id"),
  FOREIGN KEY ("seller_id") REFERENCES "seller" ("id")
);
CREATE INDEX "item.warehouse_id" ON "item" ("warehouse_id");
CREATE INDEX "item.seller_id" ON "item" ("seller_id");

CREATE TABLE "shipment" (
  "id" TEXT,
  "order_id" TEXT,
  "status" TEXT,
  "substatus_code" TEXT,
  "substatus_reason" TEXT,
  "seller_id" TEXT,
  "billing_number" TEXT,
  "billing_serial" TEXT,
  "billing_xml_content" TEXT,
  "billing_issue_date" TEXT,
  "tracking_send_date" TEXT,
  "tracking_protocol" TEXT,
  "tracking_carrier" TEXT,
  "tracking_delivery_method" TEXT,
  "delivered_date" TEXT,
  "_batch_id" INTEGER,
  "_source_file" TEXT,
  "_sequence" TEXT,
  "_sequence_version" INTEGER,
  "_ingested_at" TEXT,
  PRIMARY KEY ("order_id", "id"),
  FOREIGN KEY ("seller_id") REFERENCES "seller" ("id")
);
CREATE INDEX "shipment.seller_id" ON "shipment" ("seller_id");

CREATE TABLE "item_shipment" (
  "id" TEXT,
  "order_id" TEXT,
  "shipment_id" TEXT,
  "item_id" TEXT,
  "seller_id" TEXT,
  "substatus_code" TEXT,
  "substatus_reason" TEXT,
  "created_at" TEXT,
  "updated_at" TEXT,
  "quantity" INTEGER,
  "status" TEXT,
  "_batch_id" INTEGER,
  "_source_file" TEXT,
  "_sequence" TEXT,
  "_sequence_version" INTEGER,
  "_ingested_at" TEXT,
  PRIMARY KEY ("order_id", "shipment_id", "item_id"),
  FOREIGN KEY ("order_id", "shipment_id") REFERENCES "shipment" ("order_id", "id"),
  FOREIGN KEY ("item_id") REFERENCES "item" ("id"),
  FOREIGN KEY ("seller_id") REFERENCES "seller" ("id")
);
CREATE UNIQUE INDEX "item_shipment.id" ON "item_shipment" ("id");
CREATE INDEX "item_shipment.item_id" ON "item_shipment" ("item_id");
CREATE INDEX "item_shipment.seller_id" ON "item_shipment" ("seller_id");

CREATE TABLE "order_item" (
  "id" TEXT,
  "order_id" TEXT,
  "item_id" TEXT,
  "offer_id" TEXT,
  "order_status" TEXT,
  "order_substatus_code" TEXT,
  "order_substatus_reason" TEXT,
  "payment_status" TEXT,
  "shipping_cost" DECIMAL(18,4),
  "shipping_discount" DECIMAL(18,4),
  "final_shipping_cost" DECIMAL(18,4),
  "estimated_exact_date_iso" TEXT,
  "item_quantity" INTEGER,
  "delivery_method_name" TEXT,
  "estimated_business_days" INTEGER,
  "logistics_provider_name" TEXT,
  "store_id" TEXT,
  "client_id" TEXT,
  "summary_items" REAL,
  "summary_total" DECIMAL(18,4),
  "summary_total_price_discount" DECIMAL(18,4),
  "summary_total_shipping_cost" DECIMAL(18,4),
  "summary_total_shipping_discount" DECIMAL(18,4),
  "summary_max_shipping_time" REAL,
  "summary_orders_discount" DECIMAL(18,4),
  "summary_final_price" DECIMAL(18,4),
  "verify_token" TEXT,
  "created_at" TEXT,
  "updated_at" TEXT,
  "customer_id" TEXT,
  "delivery_address_id" TEXT,
  "promotion_id" TEXT,
  "item_shipment_id" TEXT,
  "_batch_id" INTEGER,
  "_source_file" TEXT,
  "_sequence" TEXT,
  "_sequence_version" INTEGER,
  "_ingested_at" TEXT,
  PRIMARY KEY ("order_id", "item_id"),
  FOREIGN KEY ("item_id") REFERENCES "item" ("id"),
  FOREIGN KEY ("customer_id") REFERENCES "customer" ("id"),
  FOREIGN KEY ("delivery_address_id") REFERENCES "delivery_address" ("id"),
  FOREIGN KEY ("promotion_id") REFERENCES "promotion" ("id"),
  FOREIGN KEY ("item_shipment_id") REFERENCES "item_shipment" ("id")
);
CREATE INDEX "order_item.item_id" ON "order_item" ("item_id");
CREATE INDEX "order_item.customer_id" ON "order_item" ("customer_id");
CREATE INDEX "order_item.delivery_address_id" ON "order_item" ("delivery_address_id");
CREATE INDEX "order_item.promotion_id" ON "order_item" ("promotion_id");
CREATE INDEX "order_item.item_shipment_id" ON "order_item" ("item_shipment_id");

CREATE TABLE "_quarantine" (
  "file" TEXT,
  "byte_offset" INTEGER,
  "reason_id" INTEGER,
  "line" INTEGER,
  "element" INTEGER,
  "reason" TEXT,
  "text" TEXT,
  "content_hash" TEXT,
  "documents" INTEGER,
  "_batch_id" INTEGER,
  "_ingested_at" TEXT,
  PRIMARY KEY ("file", "byte_offset", "reason_id")
);

CREATE TABLE "_files" (
  "file" TEXT,
  "size" INTEGER,
  "mtime_ns" INTEGER,
  "ctime_ns" INTEGER,
  "inode" INTEGER,
  "content_hash" TEXT,
  "range_start" INTEGER,
  "range_end" INTEGER,
  "end_line" INTEGER,
  "end_element" INTEGER,
  "end_in_array" BOOLEAN,
  "last" BOOLEAN,
  "changed" BOOLEAN,
  "events" INTEGER,
  "quarantined" INTEGER,
  "duplicate_keys" INTEGER,
  "_batch_id" INTEGER,
  "_ingested_at" TEXT,
  PRIMARY KEY ("file", "range_start", "_batch_id")
);

CREATE TABLE "_millrace" (
  "batch_id" INTEGER,
  "root_id" TEXT,
  "format" INTEGER,
  "pipeline" TEXT,
  "fingerprint" TEXT,
  "history" TEXT
);

CREATE VIEW "orders" AS
SELECT
  o.order_id,
  o.status,
  o.payment_status,
  o.lines,
  o.items,
  o.total,
  o.final_price,
  c.name AS customer,
  a.city,
  a.short_state AS state,
  (SELECT count(*) FROM shipment AS s WHERE s.order_id = o.order_id) AS shipments,
  (SELECT count(s.delivered_date) FROM shipment AS s WHERE s.order_id = o.order_id) AS delivered,
  (SELECT max(s.delivered_date) FROM shipment AS s WHERE s.order_id = o.order_id) AS last_delivered,
  o.created_at,
  o.updated_at
FROM (
  SELECT
    order_id,
    max(order_status) AS status,
    max(payment_status) AS payment_status,
    count(*) AS lines,
    sum(item_quantity) AS items,
    max(summary_total) AS total,
    max(summary_final_price) AS final_price,
    max(customer_id) AS customer_id,
    max(delivery_address_id) AS delivery_address_id,
    max(created_at) AS created_at,
    max(updated_at) AS updated_at
  FROM order_item
  GROUP BY order_id
) AS o
LEFT JOIN customer AS c ON c.id = o.customer_id
LEFT JOIN delivery_address AS a ON a.id = o.delivery_address_id;

CREATE VIEW "items_with_shipment" AS
SELECT
  l.order_id,
  l.item_id,
  i.name AS item,
  l.item_quantity AS ordered,
  p.quantity AS in_shipment,
  l.order_status,
  p.status AS item_status,
  p.shipment_id,
  s.status AS shipment_status,
  v.name AS seller,
  s.tracking_carrier,
  s.tracking_protocol,
  s.tracking_send_date,
  s.delivered_date,
  l.updated_at
FROM order_item AS l
LEFT JOIN item AS i ON i.id = l.item_id
LEFT JOIN item_shipment AS p ON p.order_id = l.order_id AND p.item_id = l.item_id
LEFT JOIN shipment AS s ON s.order_id = p.order_id AND s.id = p.shipment_id
LEFT JOIN seller AS v ON v.id = coalesce(s.seller_id, i.seller_id);
