"""DuckDB doing the orders job: usage duckdb_orders.py EVENTS_DIR OUT_DIR BATCHES. Per batch: read_json, latest event per order, eight tables replaced by key; at the end Parquet. A folder named nd* is NDJSON. Prints the times."""
import duckdb, sys, glob, time, os
src, out, k = sys.argv[1], sys.argv[2], int(sys.argv[3])
files = sorted(glob.glob(src + "/*"))
groups = [files[i::k] for i in range(k)] if k <= len(files) else [[f] for f in files]
os.makedirs(out, exist_ok=True)
db = out + "/t.duckdb"
for e in ("", ".wal"):
    if os.path.exists(db + e): os.remove(db + e)
c = duckdb.connect(db)
c.execute("set threads=2")
cols = """{'txt_detl_idt_pedi_pgto':'VARCHAR','cod_idef_clie':'VARCHAR','dat_hor_tran':'VARCHAR','dat_atui':'VARCHAR','stat_pgto':'VARCHAR','idt_loja':'VARCHAR','cod_aces_tokn':'VARCHAR',
'objt_clie':'STRUCT(nom_tipo_docm VARCHAR,nom_ende_emai_clie VARCHAR,nom_clie VARCHAR,objt_tel_clie STRUCT(cod_area_tel VARCHAR,cod_pais_tel VARCHAR,num_tel_clie VARCHAR),cod_rfrc_clie VARCHAR,cod_tipo_pess VARCHAR)',
'objt_ende_entg_pedi':'STRUCT(nom_cida_ende_entg VARCHAR,nom_cmpl_ende_entg VARCHAR,cod_pais_resd VARCHAR,nom_bair_ende_entg VARCHAR,num_logr_ende_entg VARCHAR,nom_pess VARCHAR,sig_uf VARCHAR,nom_estd VARCHAR,nom_logr_ende_entg VARCHAR,cod_cep VARCHAR)',
'list_item_pedi':'STRUCT(des_moda_entg_item VARCHAR,qtd_dia_prz_entg VARCHAR,vlr_totl_fret DOUBLE,nom_oped_empr VARCHAR,nom_item VARCHAR,cod_ofrt_ineo_requ VARCHAR,vlr_oril DOUBLE,vlr_prod DOUBLE,vlr_prod_ofrt_desc DOUBLE,nom_prod_orig VARCHAR,txt_plae_otmz_url_prod VARCHAR,qtd_item_pedi BIGINT,idt_venr VARCHAR,nom_venr VARCHAR,idt_vrne_venr VARCHAR,vlr_fret DOUBLE,vlr_desc_envo DOUBLE,cod_vrne_prod VARCHAR,txt_plae_otmz_url_item VARCHAR,nom_url_img_oril VARCHAR,vlr_oril_prod_unit_vrne DOUBLE,vlr_prec_unit_brut DOUBLE,list_cod_loja_vend STRUCT(cod_loja_vend VARCHAR)[],dat_hor_esda_entg_item VARCHAR,vlr_desc_finn_unit_item DOUBLE,vlr_fina_esto_item DOUBLE)[]',
'list_envo':'STRUCT(cod_tipo_entg VARCHAR,objt_carg_fatm STRUCT(dat_emis_nail VARCHAR,cod_nota_fisc VARCHAR,cod_srie VARCHAR,txt_xml_oper VARCHAR),list_item_envo STRUCT(qtd_prod BIGINT,cod_prod_venr VARCHAR,cod_prod VARCHAR,stat_entg VARCHAR,dat_hor_cria_item_entg VARCHAR,dat_hor_atui_item_entg VARCHAR,objt_sub_stat_item STRUCT(cod_sub_stat_item VARCHAR,nom_sub_stat_item VARCHAR))[],cod_venr VARCHAR,nom_stat_entg VARCHAR,objt_sub_stat_envo STRUCT(cod_sub_stat_entg VARCHAR,nom_sub_stat_entg VARCHAR),objt_des_stat_rtmt STRUCT(nom_trtd VARCHAR,des_moda_entg VARCHAR,prco_rtmt VARCHAR,dat_envo_rtmt VARCHAR),dat_emis_cpvt VARCHAR)[]',
'objt_des_rsum':'STRUCT(num_item DOUBLE,qtd_maxi_temp_envo DOUBLE,vlr_desc_conc_pedi DOUBLE,vlr_totl_pedi DOUBLE,vlr_totl_desc DOUBLE,vlr_cust_totl_envo DOUBLE,vlr_desc_totl_envo DOUBLE,vlr_fina_pedi DOUBLE)',
'list_prmo':'STRUCT(cod_prmo VARCHAR,nom_prmo VARCHAR,nom_tipo_desc VARCHAR,vlr_cnfg_desc DOUBLE,objt_cupo STRUCT(cod_idef_cupo VARCHAR,nom_tipo_cupo VARCHAR,cod_cupo VARCHAR),vlr_aplc_desc DOUBLE)[]'}"""
T = {
"customer": ("id", "select distinct on(id) * from (select objt_clie.cod_rfrc_clie id,objt_clie.nom_clie nm,objt_clie.nom_ende_emai_clie email,objt_clie.objt_tel_clie.cod_area_tel a,objt_clie.objt_tel_clie.cod_pais_tel b,objt_clie.objt_tel_clie.num_tel_clie c,objt_clie.nom_tipo_docm d,objt_clie.cod_tipo_pess e,dat_atui from ev) order by id,dat_atui desc"),
"delivery_address": ("id", "select distinct on(id) * from (select md5(objt_ende_entg_pedi::varchar) id, unnest(objt_ende_entg_pedi),dat_atui from ev)"),
"seller": ("id", "select distinct on(id) i.idt_venr id,i.idt_vrne_venr sku,i.nom_venr n,dat_atui from it order by id,dat_atui desc"),
"item": ("id", "select distinct on(id) i.cod_vrne_prod id,i.nom_prod_orig a,i.txt_plae_otmz_url_prod b,i.nom_item c,i.nom_url_img_oril d,i.list_cod_loja_vend[1].cod_loja_vend e,i.idt_venr f,i.vlr_prod g,i.vlr_oril h,i.vlr_prec_unit_brut j,i.vlr_oril_prod_unit_vrne k,i.vlr_prod_ofrt_desc l,i.vlr_desc_finn_unit_item m,i.vlr_fina_esto_item n,dat_atui from it order by id,dat_atui desc"),
"promotion": ("id", "select distinct on(id) p.cod_prmo id,p.nom_prmo a,p.nom_tipo_desc b,p.objt_cupo.cod_idef_cupo c,p.objt_cupo.nom_tipo_cupo d,p.objt_cupo.cod_cupo e,p.vlr_cnfg_desc f,p.vlr_aplc_desc g,dat_atui from (select unnest(list_prmo) p,dat_atui from ev) order by id,dat_atui desc"),
"shipment": ("id", "select oid||s.cod_tipo_entg id,oid,s.objt_sub_stat_envo.cod_sub_stat_entg a,s.objt_sub_stat_envo.nom_sub_stat_entg b,s.nom_stat_entg c,s.cod_venr d,s.objt_carg_fatm.cod_nota_fisc e,s.objt_carg_fatm.cod_srie f,s.objt_carg_fatm.txt_xml_oper g,s.objt_carg_fatm.dat_emis_nail h,s.objt_des_stat_rtmt.dat_envo_rtmt j,s.objt_des_stat_rtmt.prco_rtmt k,s.objt_des_stat_rtmt.nom_trtd l,s.objt_des_stat_rtmt.des_moda_entg m,s.dat_emis_cpvt n,dat_atui from sh"),
"item_shipment": ("id", "select oid||sid||x.cod_prod id,oid,x.cod_prod a,oid||sid sid,venr b,x.objt_sub_stat_item.cod_sub_stat_item c,x.objt_sub_stat_item.nom_sub_stat_item d,x.dat_hor_cria_item_entg e,x.dat_hor_atui_item_entg f,x.qtd_prod g,x.stat_entg h,dat_atui from (select oid,s.cod_tipo_entg sid,s.cod_venr venr,unnest(s.list_item_envo) x,dat_atui from sh)"),
"order_item": ("id", "select oid||i.cod_vrne_prod id,oid,i.cod_vrne_prod item_id,i.cod_ofrt_ineo_requ a,i.vlr_fret b,i.vlr_desc_envo c,i.vlr_totl_fret d,i.dat_hor_esda_entg_item e,i.qtd_item_pedi f,i.des_moda_entg_item g,i.qtd_dia_prz_entg h,i.nom_oped_empr j,idt_loja k,cod_idef_clie l,stat_pgto m,objt_des_rsum.num_item n,objt_des_rsum.vlr_totl_pedi o,objt_des_rsum.vlr_totl_desc p,objt_des_rsum.vlr_cust_totl_envo q,objt_des_rsum.vlr_desc_totl_envo r,objt_des_rsum.qtd_maxi_temp_envo s,objt_des_rsum.vlr_desc_conc_pedi t,objt_des_rsum.vlr_fina_pedi u,cod_aces_tokn v,dat_hor_tran w,dat_atui x,addr,cust,list_prmo[1].cod_prmo promo from it"),
}
OWNED = {"shipment", "item_shipment", "order_item"}
t00 = time.time(); per = []
for bi, g in enumerate(groups):
    t0 = time.time()
    c.execute(f"create or replace temp table ev as select * from read_json(?, columns={cols}, format='newline_delimited' ) qualify row_number() over (partition by txt_detl_idt_pedi_pgto order by dat_atui desc)=1" if src.rstrip('/').split('/')[-1].startswith('nd') else f"create or replace temp table ev as select * from read_json(?, columns={cols}, format='unstructured') qualify row_number() over (partition by txt_detl_idt_pedi_pgto order by dat_atui desc)=1", [g])
    if bi:
        c.execute("delete from ev using order_item o where o.oid=ev.txt_detl_idt_pedi_pgto and o.x>=ev.dat_atui")
    c.execute("create or replace temp table it as select txt_detl_idt_pedi_pgto oid,unnest(list_item_pedi) i,* exclude(list_item_pedi,list_envo,objt_clie,objt_ende_entg_pedi),md5(objt_ende_entg_pedi::varchar) addr,objt_clie.cod_rfrc_clie cust from ev")
    c.execute("create or replace temp table sh as select txt_detl_idt_pedi_pgto oid,unnest(list_envo) s,dat_atui from ev")
    c.execute("begin")
    for t, (key, q) in T.items():
        if bi == 0:
            c.execute(f"create table {t} as {q}")
            c.execute(f"create unique index {t}_k on {t}({key})") if "--index" in sys.argv else None
        else:
            c.execute(f"create or replace temp table _n as {q}")
            if t in OWNED:
                c.execute(f"delete from {t} where oid in (select txt_detl_idt_pedi_pgto from ev)")
                c.execute(f"insert into {t} select * from _n")
            else:
                c.execute(f"delete from {t} where id in (select id from _n)")
                c.execute(f"insert into {t} select * from _n")
    c.execute("commit")
    per.append(round(time.time() - t0, 2))
t1 = time.time()
for t in T: c.execute(f"copy {t} to '{out}/{t}.parquet' (format parquet, compression zstd)")
print("duckdb total", round(time.time() - t00, 2), "export", round(time.time() - t1, 2), "per batch", per, {t: c.execute(f"select count(*) from {t}").fetchone()[0] for t in T})
